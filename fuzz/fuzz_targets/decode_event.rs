//! An event that decodes is encoded as the same bytes; canonical bytes are written again as they were read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runproof_proof::canonical;
use runproof_proof::event::Event;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(event) = Event::decode(bytes) {
        assert_eq!(event.encode(), bytes);
    }
    if canonical::check(bytes, canonical::VALUE_DEPTH).is_ok() {
        let value: serde_json::Value = serde_json::from_slice(bytes).expect("what is accepted parses");
        assert_eq!(canonical::to_bytes(&value).as_deref(), Ok(bytes));
    }
});
