//! What redaction hides, what it leaves alone, what refuses a plan, and how secrets are filled in and scrubbed.
//!
//! Credentials in here are made up, and cut in two where a scanner would otherwise take them for real ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use runproof_engine::redact::{
    LiteralSecret, Scrubber, SecretName, fill_secrets, is_redacted, literal_secrets, literal_secrets_in_text, redact,
    redact_text, secret_names,
};
use serde_json::{Value, json};

const GITHUB: &str = concat!("ghp", "_0123456789abcdefghijABCDEFGHIJ012345");
const GITHUB_FINE: &str = concat!("github", "_pat_11ABCDEFG0abcdefghijkl_mnopqrstuv");
const SLACK: &str = concat!("xox", "b-123456789012-abcdefABCDEF");
const ANTHROPIC: &str = concat!("sk", "-ant-api03-abcDEF123_456-ghiJKL789");
const STRIPE: &str = concat!("sk", "_live_abcdefghijklmnop1234");
const AWS: &str = "AKIAIOSFODNN7EXAMPLE";
const JWT: &str = concat!("eyJ", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl");
const PEM: &str = concat!("-----BEGIN RSA ", "PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----");
const VISA: &str = "4111 1111 1111 1111";

fn check(input: Value, expected: Value) {
    let redacted = redact(input.clone());
    assert_eq!(redacted, expected, "redacting {input}");
    assert_eq!(redact(redacted.clone()), redacted, "redacting {input} a second time");
}

fn check_text(input: &str, expected: &str) {
    assert_eq!(redact_text(input), expected, "redacting {input:?}");
    assert_eq!(redact_text(expected), expected, "redacting {expected:?}");
}

fn check_same(input: &str) {
    check_text(input, input);
}

#[test]
fn a_value_under_a_secret_field_name_is_hidden() {
    let names = "password PASSWORD passwd pwd secret api_key apikey api-key x-api-key X-API-Key token \
        access_token accessToken refresh_token authToken id_token github_token APIToken authorization \
        Proxy-Authorization bearer private_key privatekey ssh_key credentials cred ssn social_security \
        credit_card creditCard card_number cvv cvc user_password userPassword dbPwd PGPASSWORD password2 \
        api_keys client_secret AWS_SECRET_ACCESS_KEY user[password] db.password set-cookie Cookie";
    for name in names.split_whitespace().chain(["api key"]) {
        check(json!({ name: "x" }), json!({ name: "<REDACTED>" }));
        check(json!({ name: 7 }), json!({ name: "<REDACTED>" }));
        check(json!({ name: ["x"] }), json!({ name: "<REDACTED>" }));
        check(json!({ name: { "a": 1 } }), json!({ name: "<REDACTED>" }));
        for empty in [json!(null), json!(""), json!([]), json!({}), json!(true)] {
            check(json!({ name: empty }), json!({ name: empty }));
        }
    }
}

#[test]
fn a_field_name_that_only_sounds_secret_is_left_alone() {
    let names = "token_count max_tokens tokens_used input_tokens tokens tokenizer secretary next_page_token \
        nextPageToken nextToken sync_token cost_per_token eos_token password_reset_url password_policy \
        class_n address session idempotency_key primary_key key author credit card_type access_key_id \
        secretariat 7 authorization_url";
    for name in names.split_whitespace().chain([""]) {
        check(json!({ name: "x" }), json!({ name: "x" }));
    }
}

#[test]
fn a_name_and_value_pair_counts_as_a_field() {
    check(
        json!([{ "name": "X-Api-Key", "value": "abc" }, { "name": "accept", "value": "text/html" }]),
        json!([{ "name": "X-Api-Key", "value": "<REDACTED>" }, { "name": "accept", "value": "text/html" }]),
    );
    check(json!({ "name": "password", "type": "string" }), json!({ "name": "password", "type": "string" }));
}

#[test]
fn a_reference_to_a_secret_is_not_a_secret() {
    for text in ["secret://API_TOKEN", "Bearer secret://API_TOKEN", "secret://USER:secret://PASS"] {
        check(json!({ "authorization": text }), json!({ "authorization": text }));
        check_same(&format!("sent {text}"));
    }
    check(json!({ "password": "xsecret://A" }), json!({ "password": "<REDACTED>" }));
    let key_in_name = format!("secret://NAME{AWS}");
    check(json!({ "password": key_in_name }), json!({ "password": "<REDACTED>" }));
    check(json!({ "password": "secret://lower" }), json!({ "password": "<REDACTED>" }));
}

#[test]
fn values_of_known_form_are_hidden_wherever_they_stand() {
    for (secret, marker) in [
        ("ana.maria+x@mail.example.org", "<REDACTED_EMAIL>"),
        ("björn@example.se", "<REDACTED_EMAIL>"),
        ("Bearer xxx", "Bearer <REDACTED>"),
        ("bearer Bearer a.b-c", "bearer Bearer <REDACTED>"),
        ("Basic dXNlcjpwYXNz", "Basic <REDACTED>"),
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic <REDACTED>"),
        (AWS, "<REDACTED_AWS_KEY>"),
        ("ASIAIOSFODNN7EXAMPLE", "<REDACTED_AWS_KEY>"),
        (GITHUB, "<REDACTED_GITHUB_TOKEN>"),
        (GITHUB_FINE, "<REDACTED_GITHUB_TOKEN>"),
        (SLACK, "<REDACTED_SLACK_TOKEN>"),
        (ANTHROPIC, "<REDACTED_KEY>"),
        (STRIPE, "<REDACTED_KEY>"),
        (concat!("rk", "_live_abcdefghijkl"), "<REDACTED_KEY>"),
        (concat!("sk", "-abcdefghijklmnopqrstuvwxyz"), "<REDACTED_KEY>"),
        (PEM, "<REDACTED_PRIVATE_KEY>"),
        (JWT, "<REDACTED_JWT>"),
        ("postgres://app:hunter2@db:5432/x", "postgres://<REDACTED>@db:5432/x"),
        ("redis://:p@ss:word@cache", "redis://<REDACTED>@cache"),
        (VISA, "<REDACTED_CARD>"),
        ("4111-1111-1111-1111", "<REDACTED_CARD>"),
        ("378282246310005", "<REDACTED_CARD>"),
        ("3782 822463 10005", "<REDACTED_CARD>"),
        ("5555555555554444", "<REDACTED_CARD>"),
        ("6011111111111117", "<REDACTED_CARD>"),
        ("4222222222222", "<REDACTED_CARD>"),
        ("123-45-6789", "<REDACTED_SSN>"),
    ] {
        check_text(secret, marker);
        check_text(&format!("a ({secret}) b"), &format!("a ({marker}) b"));
        check_text(&format!("日本 {secret}\nb"), &format!("日本 {marker}\nb"));
        check(json!([{ "a": [[secret, 1]] }]), json!([{ "a": [[marker, 1]] }]));
        check(json!(secret), json!(marker));
    }
}

#[test]
fn a_key_block_that_was_cut_off_is_hidden_to_its_end() {
    check_text("a -----BEGIN PRIVATE KEY-----\nMIIE\nabc", "a <REDACTED_PRIVATE_KEY>");
    check_text("private_key=-----BEGIN PRIVATE KEY-----\nMIIE\nabc", "private_key=<REDACTED>");
}

#[test]
fn ordinary_text_is_left_alone() {
    for text in [
        "",
        "the basic understanding of a bearer token",
        "risk-management-for-everyone-and-more",
        "sk-learn-is-a-library-for-everyone",
        "token_count: 5, max_tokens=100",
        "std::token::new(secret::Kind)",
        "https://example.com:8080/a@b?page_token=abc",
        "react@18.2.0 and 12:30:45",
        "password: ",
        "password=null&token=&x=1",
        "{\"password\":null,\"token\":\"\",\"secret\":true}",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c1234567890",
        "f47ac10b-1234-4532-8015-112830366123",
        "12345678-1234-4532-8015-112830366123",
        "1732158000000 1732158000000000 1732158000000000000",
        "0.4111111111111111",
        "order 41111111111111112222 from 2024-01-15 10:30",
        "4111 1111 1111 1112",
        "WWW-Authenticate: Bearer realm=\"x\"",
        "<REDACTED> <REDACTED_EMAIL> Bearer <REDACTED> postgres://<REDACTED>@db",
    ] {
        check_same(text);
    }
}

#[test]
fn secret_fields_inside_text_are_hidden() {
    for (input, expected) in [
        (r#"{"password":"x"}"#, r#"{"password":"<REDACTED>"}"#),
        (r#"{"user":"a","api_key": "x\"y", "n":1}"#, r#"{"user":"a","api_key": "<REDACTED>", "n":1}"#),
        (r#"{"token":123,"n":1}"#, r#"{"token":"<REDACTED>","n":1}"#),
        (r#"{"credentials":{"u":"a}","p":["b"]},"n":1}"#, r#"{"credentials":"<REDACTED>","n":1}"#),
        (r#"{"password":"cut off"#, r#"{"password":"<REDACTED>"#),
        (r#"{\"password\":\"x\\\"y\",\"n\":1}"#, r#"{\"password\":\"<REDACTED>\",\"n\":1}"#),
        ("{'secret': 'x', 'n': 1}", "{'secret': '<REDACTED>', 'n': 1}"),
        ("{\n  \"secret\":\n    \"x\"\n}", "{\n  \"secret\":\n    \"<REDACTED>\"\n}"),
        ("password=x", "password=<REDACTED>"),
        ("password = 'x y' next", "password = '<REDACTED>' next"),
        ("password=x,y;user=z", "password=<REDACTED>;user=z"),
        ("api_key: x", "api_key: <REDACTED>"),
        ("api key: x", "api key: <REDACTED>"),
        ("my token: x is here", "my token: <REDACTED> is here"),
        ("**Password:** x", "**Password:** <REDACTED>"),
        ("**Password**: x", "**Password**: <REDACTED>"),
        ("token => x", "token => <REDACTED>"),
        ("auth_token: Bearer abc def", "auth_token: <REDACTED> def"),
        ("https://a.b/c?api_key=x&n=1#f", "https://a.b/c?api_key=<REDACTED>&n=1#f"),
        ("Authorization: Digest username=\"a\", response=\"b\"\nHost: c", "Authorization: <REDACTED>\nHost: c"),
        ("curl -H \"Authorization: Bearer abc\" https://a.b", "curl -H \"Authorization: <REDACTED>\" https://a.b"),
        ("Cookie: a=b; c=d\r\nHost: x", "Cookie: <REDACTED>\r\nHost: x"),
        ("password=a@example.com!x", "password=<REDACTED>"),
        ("password=<REDACTED_EMAIL>x", "password=<REDACTED>"),
    ] {
        check_text(input, expected);
    }
}

#[test]
fn redacted_json_text_is_still_json() {
    let text = json!({ "a": [{ "token": 1, "b": 2 }], "credentials": [1, 2], "password": "x\\", "c": "d" }).to_string();
    let parsed: Value = serde_json::from_str(&redact_text(&text)).unwrap();
    let hidden = "<REDACTED>";
    let expected = json!({ "a": [{ "token": hidden, "b": 2 }], "credentials": hidden, "password": hidden, "c": "d" });
    assert_eq!(parsed, expected);
}

#[test]
fn an_integer_that_is_a_card_number_becomes_a_marker() {
    check(json!([4_111_111_111_111_111_u64]), json!(["<REDACTED_CARD>"]));
    check(json!(4_111_111_111_111_111.0), json!("<REDACTED_CARD>"));
    for number in
        [json!(411_111_111_111_u64), json!(1_732_158_000_000_u64), json!(-4_111_111_111_111_111_i64), json!(0.5)]
    {
        check(number.clone(), number);
    }
}

#[test]
fn object_names_are_redacted_and_none_is_lost() {
    check(
        json!({ "a@example.com": 1, "b@example.com": 2, "c@example.com": 3, "<REDACTED_EMAIL>": 4, "x": 5 }),
        json!({
            "<REDACTED_EMAIL>": 4, "<REDACTED_EMAIL>#2": 1, "<REDACTED_EMAIL>#3": 2, "<REDACTED_EMAIL>#4": 3, "x": 5,
        }),
    );
    let many: serde_json::Map<String, Value> = (0..30).map(|n| (format!("u{n}@example.com"), json!(n))).collect();
    let redacted = redact(Value::Object(many));
    assert_eq!(redacted.as_object().unwrap().len(), 30);
    assert_eq!(redact(redacted.clone()), redacted);
}

#[test]
fn depth_hides_nothing() {
    let depth = 120;
    let text = format!("{}{{\"password\":\"x\",\"a\":\"{AWS}\"}}{}", "[".repeat(depth), "]".repeat(depth));
    let redacted = redact(serde_json::from_str(&text).unwrap());
    let expected = "{\"a\":\"<REDACTED_AWS_KEY>\",\"password\":\"<REDACTED>\"}";
    assert_eq!(redacted.to_string(), format!("{}{expected}{}", "[".repeat(depth), "]".repeat(depth)));
}

#[test]
fn a_marker_is_seen_wherever_it_stands() {
    for value in [
        json!("<REDACTED>"),
        json!("to <REDACTED_EMAIL>, now"),
        json!([{ "a": ["Bearer <REDACTED>"] }]),
        json!({ "<REDACTED_EMAIL>#2": 1 }),
        json!("<REDACTED_SECRET>"),
    ] {
        assert!(is_redacted(&value), "{value}");
    }
    for value in [json!("REDACTED"), json!("<REDACTED"), json!("<redacted>"), json!([1, null, "x"]), json!({ "a": {} })]
    {
        assert!(!is_redacted(&value), "{value}");
    }
}

#[test]
fn long_text_is_redacted_in_linear_time() {
    // Each text tempts a rule to look far ahead, again and again. Quadratic work on 400 kB would take minutes; this
    // ends in seconds. No clock here: a slow machine is not a failure.
    for piece in [
        "a",
        "a@",
        "a@b.",
        "password:[",
        "password=\\",
        "\"password\":\"",
        "token: ",
        "eyJ",
        "eyJaaaa.",
        "4111 ",
        "4 ",
        "a://b:",
        "Bearer ",
        "-----BEGIN PRIVATE KEY",
        "1-",
        "=",
        ":",
        " :",
        "{{",
        "secret://",
        "<REDACTED",
        "sk-a",
        "\\\"",
    ] {
        let text = piece.repeat(400_000 / piece.len());
        drop(redact_text(&text));
        drop(literal_secrets_in_text(&text));
        drop(literal_secrets(&json!({ "password": text })));
    }
}

fn kinds(value: Value) -> Vec<(String, &'static str)> {
    literal_secrets(&value).into_iter().map(|LiteralSecret { path, kind }| (path, kind)).collect()
}

#[test]
fn a_literal_under_a_secret_name_refuses_a_plan() {
    let plan = json!({ "steps": [
        { "with": { "headers": { "authorization": "Bearer abc", "x-api-key": "k" }, "token": 5 } },
        { "with": { "api_keys": ["a", "secret://B"], "credentials": { "type": "oauth", "password": "x" } } },
        { "with": { "headers": [{ "name": "Authorization", "value": "x" }] } },
    ] });
    let expected = [
        "$.steps[0].with.headers.authorization",
        "$.steps[0].with.headers[\"x-api-key\"]",
        "$.steps[0].with.token",
        "$.steps[1].with.api_keys[0]",
        "$.steps[1].with.credentials.password",
        "$.steps[2].with.headers[0].value",
    ];
    assert_eq!(kinds(plan), expected.map(|path| (path.to_owned(), "secret_field")));
}

#[test]
fn a_credential_of_known_form_refuses_a_plan() {
    for (text, kind) in [
        (AWS, "aws_key"),
        (GITHUB, "github_token"),
        (SLACK, "slack_token"),
        (ANTHROPIC, "api_key"),
        (PEM, "private_key"),
        (JWT, "jwt"),
        ("Bearer abcdef123456", "bearer_token"),
        ("Basic dXNlcjpwYXNz", "basic_credentials"),
        ("https://user:pass@example.com", "url_userinfo"),
        (VISA, "card_number"),
        ("123-45-6789", "social_security_number"),
        ("https://example.com/?n=1&api_key=abc", "secret_in_text"),
        ("{\"user\":\"a\",\"password\":\"b\"}", "secret_in_text"),
    ] {
        assert_eq!(kinds(json!({ "a": [text] })), [("$.a[0]".to_owned(), kind)], "{text}");
        assert_eq!(kinds(json!({ text: null })), [("$".to_owned(), kind)], "{text}");
        let goal = literal_secrets_in_text(&format!("Fetch it with {text} and go on"));
        assert_eq!(goal, [LiteralSecret { path: "$".to_owned(), kind }], "{text}");
    }
    assert_eq!(kinds(json!(4_111_111_111_111_111_u64)), [("$".to_owned(), "card_number")]);
}

#[test]
fn what_names_a_secret_or_is_none_does_not_refuse_a_plan() {
    for value in [
        json!({ "password": "secret://DB_PASSWORD" }),
        json!({ "authorization": "Bearer secret://API_TOKEN" }),
        json!({ "authorization": "Basic secret://BASIC" }),
        json!({ "token": "{{ steps.login.output.value }}" }),
        json!({ "token": "Bearer {{ steps.login.output.value }}" }),
        json!({ "token": "" }),
        json!({ "token": null, "secret": true }),
        json!({ "max_tokens": 500, "next_page_token": "abc" }),
        json!({ "to": "ana@example.com" }),
        json!({ "url": "postgres://app:secret://DB_PASSWORD@db.example/x" }),
        json!({ "url": "https://{{goal}}:{{goal}}@example.com" }),
        json!({ "url": "https://example.com/?token=secret://API_TOKEN&key={{ goal }}" }),
        json!({ "url": "https://example.com/?token={{ steps.a.output }}" }),
        json!({ "query": "select 1 from t where token = $1 and password = crypt($2, password)" }),
        json!({ "prompt": "Explain bearer tokens. Reset the password: follow the steps. Answer {\"token\": \"<token>\"}" }),
        json!({ "schema": { "properties": { "password": { "type": "string" } } } }),
        json!({ "required": ["password"], "n": 1_732_158_000_000_u64 }),
    ] {
        assert_eq!(kinds(value.clone()), [], "{value}");
    }
    for value in ["secret://lower", "secret://A b", "x{{ goal }}", "{{ goal", "secret://A-B"] {
        assert_eq!(kinds(json!({ "password": value })).len(), 1, "{value}");
    }
}

#[test]
fn a_value_assigned_to_a_secret_name_refuses_a_plan_and_a_goal() {
    for text in ["log in with password=hunter2", "export API_KEY=abcd1234", "db_password=correcthorse;"] {
        assert_eq!(kinds(json!({ "text": text })), [("$.text".to_owned(), "assigned_credential")], "{text}");
        assert_eq!(literal_secrets_in_text(text).len(), 1, "{text}");
    }
    for text in
        ["password=secret://DB_PASSWORD", "password={{ steps.a.output }}", "max_tokens=4096", "a == b", "password="]
    {
        assert_eq!(kinds(json!({ "text": text })), [], "{text}");
    }
}

#[test]
fn a_path_never_shows_a_secret() {
    let found = literal_secrets(&json!({ AWS: { "password": "hunter2" } }));
    let paths: Vec<&str> = found.iter().map(|literal| literal.path.as_str()).collect();
    assert_eq!(paths, ["$", "$[\"<REDACTED_AWS_KEY>\"].password"]);
}

fn secrets(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn references_to_secrets_are_found_and_filled() {
    let value =
        json!({ "a": "secret://TOKEN", "b": ["Bearer secret://TOKEN", "secret://USER:secret://PASS_2"], "c": 1 });
    let names = secret_names(&value).unwrap();
    assert_eq!(names, BTreeSet::from(["TOKEN", "USER", "PASS_2"].map(str::to_owned)));
    let filled = fill_secrets(&value, &secrets(&[("TOKEN", "t"), ("USER", "secret://TOKEN"), ("PASS_2", "p")]));
    assert_eq!(filled, json!({ "a": "t", "b": ["Bearer t", "secret://TOKEN:p"], "c": 1 }));
    assert_eq!(fill_secrets(&value, &BTreeMap::new()), value);
    assert_eq!(secret_names(&json!(["no", { "refs": 1 }])), Ok(BTreeSet::new()));
}

#[test]
fn a_malformed_reference_to_a_secret_is_an_error_with_its_place() {
    let long = format!("secret://{}", "A".repeat(65));
    for (value, path, text) in [
        (json!({ "a": ["x", "secret://token"] }), "$.a[1]", "secret://token"),
        (json!("Bearer secret://"), "$", "secret://"),
        (json!("secret://API-TOKEN"), "$", "secret://API-TOKEN"),
        (json!("secret://1A"), "$", "secret://1A"),
        (json!({ "b": { "secret://NAME": 1 } }), "$.b", "secret://NAME"),
        (json!(long), "$", long.as_str()),
        (json!(format!("secret://{GITHUB}")), "$", "secret://<REDACTED_GITHUB_TOKEN>"),
    ] {
        let error = secret_names(&value).unwrap_err();
        assert_eq!((error.path.as_str(), error.text.as_str()), (path, text), "{value}");
    }
    let message = secret_names(&json!("secret://x")).unwrap_err().to_string();
    let expected = "`secret://x` at `$` is not a reference to a secret: write `secret://NAME` in a value, with a name of \
                    `[A-Z][A-Z0-9_]*`, at most 64 characters";
    assert_eq!(message, expected);
}

#[test]
fn a_secret_name_has_one_form() {
    for name in ["A", "API_TOKEN", "A1", &"A".repeat(64)] {
        assert_eq!(SecretName::new(name).unwrap().as_str(), name);
        assert_eq!(SecretName::parse(&format!("secret://{name}")).unwrap().to_string(), name);
    }
    for name in ["", "a", "_A", "1A", "A-B", "A B", "Ä", &"A".repeat(65)] {
        assert!(SecretName::new(name).is_err(), "{name}");
    }
    assert!(SecretName::parse("API_TOKEN").is_err());
    assert!(SecretName::parse("Bearer secret://API_TOKEN").is_err());
}

fn scrubber(secret: &str) -> Scrubber {
    Scrubber::new(&secrets(&[("S", secret)])).expect("the secret is long enough")
}

#[test]
fn a_secret_is_scrubbed_in_every_common_encoding() {
    let secret = "p/ss \"w&rd+<é>'%41";
    let json_text = serde_json::to_string(secret).unwrap();
    for encoded in [
        secret,
        "p%2Fss%20%22w%26rd%2B%3C%C3%A9%3E%27%2541",
        "p%2fss%20%22w%26rd%2b%3c%c3%a9%3e%27%2541",
        "p%2Fss+%22w%26rd%2B%3C%C3%A9%3E%27%2541",
        "p%2Fss%20%22w%26rd%2B%3C%C3%A9%3E'%2541",
        "p/ss%20%22w&rd+%3C%C3%A9%3E'%2541",
        "702f73732022772672642b3cc3a93e27253431",
        "702F73732022772672642B3CC3A93E27253431",
        json_text.trim_matches('"'),
        r#"p\/ss \"w&rd+<é>'%41"#,
        r#"p/ss \"w&rd+<\u00e9>'%41"#,
        r#"p/ss \"w\u0026rd+\u003cé\u003e'%41"#,
        r#"p/ss \\\"w&rd+<é>'%41"#,
        "p/ss &quot;w&amp;rd+&lt;é&gt;&#39;%41",
        "p/ss &quot;w&amp;rd+&lt;é&gt;&#x27;%41",
        "p/ss \"w&amp;rd+&lt;é&gt;'%41",
    ] {
        assert_eq!(scrubber(secret).scrub_text(&format!("a {encoded} b")), "a <REDACTED_SECRET> b", "{encoded}");
    }
}

#[test]
fn a_secret_is_scrubbed_from_base64_at_every_offset() {
    let secret = "hunter2-hunter2";
    for (prefix, suffix) in [("", ""), ("u:", ""), ("us:", ""), ("user:", "x"), ("", "ab"), ("ÿÿ>", "??")] {
        let clear = format!("{prefix}{secret}{suffix}");
        for encoded in [
            data_encoding::BASE64.encode(clear.as_bytes()),
            data_encoding::BASE64_NOPAD.encode(clear.as_bytes()),
            data_encoding::BASE64URL.encode(clear.as_bytes()),
            data_encoding::BASE64URL_NOPAD.encode(clear.as_bytes()),
        ] {
            let scrubbed = scrubber(secret).scrub_text(&encoded);
            assert!(scrubbed.contains("<REDACTED_SECRET>"), "{clear}: {encoded} -> {scrubbed}");
            assert!(scrubbed.len() <= "<REDACTED_SECRET>".len() + 2 * (prefix.len() + suffix.len()) + 2, "{scrubbed}");
        }
    }
}

#[test]
fn a_secret_is_scrubbed_from_names_and_numbers() {
    let value = json!({ "x 12345678": 1, "y 12345678": [12_345_678, 123_456_789], "z": { "a": "-12345678-" } });
    let expected = json!({
        "x <REDACTED_SECRET>": 1,
        "y <REDACTED_SECRET>": ["<REDACTED_SECRET>", 123_456_789],
        "z": { "a": "-<REDACTED_SECRET>-" },
    });
    assert_eq!(scrubber("12345678").scrub(value), expected);
    let collision = scrubber("abcd").scrub(json!({ "abcd": 1, "abcdabcd": 2, "<REDACTED_SECRET>": 3 }));
    let expected = json!({ "<REDACTED_SECRET>": 3, "<REDACTED_SECRET>#2": 1, "<REDACTED_SECRET><REDACTED_SECRET>": 2 });
    assert_eq!(collision, expected);
}

#[test]
fn the_longer_secret_wins_and_overlapping_secrets_go_together() {
    let both = Scrubber::new(&secrets(&[("A", "pass"), ("B", "password1"), ("C", "word1234")])).unwrap();
    assert_eq!(both.scrub_text("password1"), "<REDACTED_SECRET>");
    assert_eq!(both.scrub_text("a password1234 b pass"), "a <REDACTED_SECRET> b <REDACTED_SECRET>");
}

#[test]
fn blanks_and_lines_do_not_hide_a_secret() {
    assert_eq!(scrubber("hunter2\n").scrub_text("got hunter2."), "got <REDACTED_SECRET>.");
    let key = scrubber("first line of it\r\n  second line\nend");
    assert_eq!(key.scrub_text("a second line b end"), "a <REDACTED_SECRET> b end");
    assert_eq!(key.scrub_text("first line of it\\r\\n  second line\\nend"), "<REDACTED_SECRET>");
}

#[test]
fn a_marker_is_never_scrubbed() {
    for secret in ["REDACTED", "SECRET", "DACTED_S", "<REDACTED>"] {
        let once = scrubber(secret).scrub_text(&format!("<REDACTED_SECRET> <REDACTED> x{secret}x"));
        assert_eq!(scrubber(secret).scrub_text(&once), once);
    }
}

#[test]
fn a_short_secret_is_refused() {
    for secret in ["", "abc", "ab  ", "\n\n\n\n", "äöü"] {
        let error = Scrubber::new(&secrets(&[("PIN", secret)])).unwrap_err();
        assert_eq!(error.to_string(), "secret `PIN` is shorter than 4 characters: it cannot be scrubbed safely");
    }
    assert_eq!(format!("{:?}", Scrubber::new(&BTreeMap::new()).unwrap()), "Scrubber { n_needles: 0, .. }");
    assert!(!format!("{:?}", scrubber("hunter2")).contains("hunter"));
}

/// Texts made of the pieces that rules look at, in any order.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "password",
        "token",
        "api_key",
        "Authorization",
        "secret://NAME",
        "secret://",
        "=",
        ":",
        ": ",
        "=>",
        "\"",
        "'",
        "\\",
        "\\\"",
        " ",
        "\n",
        "&",
        ";",
        ",",
        "{",
        "}",
        "[",
        "]",
        "?",
        "://",
        "@",
        "a@b.co",
        "https://u:p@h",
        "Bearer ",
        "Basic ",
        "dXNlcjpwYXNz",
        "x",
        "9",
        "4111111111111111",
        "123-45-6789",
        "<REDACTED>",
        "<REDACTED_EMAIL>",
        "#2",
        "<",
        ">",
        "eyJabcd.efgh.ij",
        AWS,
        GITHUB,
        SLACK,
        ANTHROPIC,
        PEM,
        "-----BEGIN PRIVATE KEY-----",
        "é",
        "page ",
        "**",
        "*",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        text().prop_map(Value::String),
        any::<u64>().prop_map(|number| json!(number)),
        any::<bool>().prop_map(Value::Bool),
        Just(json!(4_111_111_111_111_111_u64)),
        Just(Value::Null),
    ];
    let name = prop_oneof![text(), prop::sample::select(vec!["name", "value", "password"]).prop_map(str::to_owned)];
    scalar.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn redacting_twice_is_redacting_once(value in value()) {
        let once = redact(value);
        prop_assert_eq!(redact(once.clone()), once);
    }

    #[test]
    fn redacting_a_text_twice_is_redacting_it_once(text in text()) {
        let once = redact_text(&text).into_owned();
        prop_assert_eq!(redact_text(&once), once.as_str());
    }

    #[test]
    fn no_token_survives_redaction(text in text()) {
        let redacted = redact_text(&text);
        for token in [AWS, GITHUB, SLACK] {
            prop_assert!(!redacted.contains(token), "{} in {}", token, redacted);
        }
    }

    #[test]
    fn a_scrubbed_text_does_not_hold_the_secret(secret in "[ -~é]{4,12}", before in "[ -~]{0,6}", after in "[ -~]{0,6}") {
        if secret.trim().chars().count() < 4 || "<REDACTED_SECRET>".contains(secret.trim()) {
            return Ok(());
        }
        let scrubber = scrubber(&secret);
        let text = format!("{before}{secret}{after}");
        let scrubbed = scrubber.scrub_text(&text);
        prop_assert!(scrubbed.contains("<REDACTED_SECRET>"), "{}", scrubbed);
        prop_assert!(!scrubbed.replace("<REDACTED_SECRET>", "\0").contains(secret.trim()), "{}", scrubbed);
        let encoded = data_encoding::BASE64.encode(text.as_bytes());
        prop_assert!(scrubber.scrub_text(&encoded).contains("<REDACTED_SECRET>"), "{}", encoded);
    }
}
