//! A trust file that is accepted names a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runproof_proof::trust::Trust;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(trust) = Trust::parse("fuzz", bytes) {
        assert!(!trust.keys.is_empty());
    }
});
