//! A text that is an expression is one again, and gives the same twice; a template with it is read or refused.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use runproof_engine::expression::Expression;
use runproof_engine::reference::references;
use serde_json::{Value, json};

fuzz_target!(|text: &str| {
    let value = json!({ "a": [1, 2.5, "x", null, { "b": true }], "c": { "d": -1, "e": u64::MAX } });
    if let Ok(expression) = Expression::parse(text) {
        let evaluate = || expression.evaluate("$", &|_| Some(Cow::Borrowed(&value)));
        assert_eq!(evaluate(), evaluate());
        assert_eq!(Expression::parse(expression.text()).as_ref(), Ok(&expression));
    }
    drop(references(&Value::String(format!("{{{{ {text} }}}}"))));
});
