//! A bundle that parses is written again as the same bytes, and judging it ends. Seeds: `docs/spec/vectors/bundles`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runproof_proof::bundle::Bundle;
use runproof_proof::finding::Verdict;
use runproof_proof::trust::Trust;

fuzz_target!(|bytes: &[u8]| {
    // A value that is nested too deeply is judged by verification, and cannot be written.
    if let Ok(Ok(again)) = Bundle::parse(bytes).map(|bundle| bundle.encode()) {
        assert_eq!(again, bytes);
    }
    assert_ne!(runproof_proof::verify(bytes, &Trust::default()).verdict(), Verdict::Verified);
});
