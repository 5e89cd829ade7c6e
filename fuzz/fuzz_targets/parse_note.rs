//! Notes, checkpoints and inclusion proofs that parse are written again as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runproof_proof::checkpoint::{Checkpoint, InclusionProof};
use runproof_proof::note::{Note, NoteVerifier};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes)
        && let Ok(checkpoint) = Checkpoint::parse(&note.text)
    {
        assert_eq!(checkpoint.text(), note.text);
    }
    if let Ok((proof, _, _)) = InclusionProof::decode(bytes) {
        assert_eq!(proof.encode().as_bytes(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = NoteVerifier::parse(text)
    {
        assert_eq!(key.vkey(), text);
    }
});
