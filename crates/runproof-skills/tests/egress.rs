//! Claims about which addresses may be reached.

use std::net::{IpAddr, SocketAddr};

use runproof_skills::egress::Egress;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
}

/// Judges an address under an allow-list; the result is the denied range, or `allowed`.
fn judge(list: &str, host: &str, ip: &str, port: u16) -> String {
    let egress = Egress::parse(list).unwrap_or_else(|error| panic!("{error}"));
    match egress.judge(host, address(ip), port) {
        Ok(()) => "allowed".to_owned(),
        Err(denied) => denied.range.to_owned(),
    }
}

#[test]
fn public_unicast_addresses_are_allowed_by_default() {
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "192.0.1.1",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2001:200::1",
        "3fff:1000::1",
        "2a00::1",
    ];
    for ip in public {
        assert_eq!(judge("", "host", ip, 443), "allowed", "{ip}");
    }
}

#[test]
fn every_other_address_is_denied_by_default() {
    let denied = [
        ("private", "10.0.0.1 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.1 192.168.255.255"),
        ("loopback", "127.0.0.1 127.0.0.2 127.255.255.255 ::1"),
        ("link-local", "169.254.0.1 169.254.255.255 fe80::1 febf::1"),
        ("cloud metadata", "169.254.169.254 169.254.170.2 100.100.100.200 fd00:ec2::254 168.63.129.16 192.0.0.192"),
        ("carrier-grade NAT", "100.64.0.0 100.127.255.255"),
        ("unique local", "fc00::1 fdff:ffff::1"),
        ("multicast", "224.0.0.1 239.255.255.255 ff02::1"),
        ("this network", "0.0.0.0 0.1.2.3"),
        ("unspecified", "::"),
        ("broadcast", "255.255.255.255"),
        ("reserved", "240.0.0.1 255.255.255.254"),
        ("documentation", "192.0.2.1 198.51.100.7 203.0.113.9 2001:db8::1 3fff::1 3fff:fff::1"),
        ("benchmarking", "198.18.0.1 198.19.255.255"),
        ("protocol assignments", "192.0.0.1 2001:2::1 2001:10::1 2001:20::1"),
        ("6to4 relay", "192.88.99.1"),
        ("not global unicast", "100::1 64:ff9b:1::1 5f00::1 fec0::1 4000::1"),
    ];
    for (range, addresses) in denied {
        for ip in addresses.split(' ') {
            assert_eq!(judge("", "host", ip, 443), range, "{ip}");
        }
    }
}

#[test]
fn an_ipv6_address_that_carries_an_ipv4_address_is_judged_by_it() {
    let check = |ip: &str, expected: &str| assert_eq!(judge("", "host", ip, 443), expected, "{ip}");
    check("::ffff:127.0.0.1", "loopback");
    check("::ffff:10.0.0.1", "private");
    check("::ffff:169.254.169.254", "cloud metadata");
    check("::ffff:1.1.1.1", "allowed");
    check("::127.0.0.1", "loopback");
    check("::1.1.1.1", "v4-compatible");
    check("64:ff9b::127.0.0.1", "loopback");
    check("64:ff9b::a9fe:a9fe", "cloud metadata");
    check("64:ff9b::1.1.1.1", "allowed");
    check("2002:7f00:1::1", "loopback");
    check("2002:a00:1::", "private");
    check("2002:101:101::1", "allowed");
    // Teredo: the server's address as it is, the client's with every bit turned.
    check("2001:0:7f00:1::fefe:fefe", "loopback");
    check("2001:0:101:101::80ff:fffe", "loopback");
    check("2001:0:101:101::fefe:fefe", "allowed");
}

#[test]
fn an_entry_allows_what_it_says_and_nothing_else() {
    let check = |list: &str, host: &str, ip: &str, port: u16, expected: &str| {
        assert_eq!(judge(list, host, ip, port), expected, "{list}: {host} at {ip} port {port}");
    };
    check("db.internal", "db.internal", "10.0.0.1", 5432, "allowed");
    check("db.internal", "DB.Internal.", "10.0.0.1", 5432, "allowed");
    check("Db.Internal.", "db.internal", "10.0.0.1", 5432, "allowed");
    check("db.internal", "xdb.internal", "10.0.0.1", 5432, "private");
    check("db.internal", "x.db.internal", "10.0.0.1", 5432, "private");
    check("db.internal:5432", "db.internal", "10.0.0.1", 5432, "allowed");
    check("db.internal:5432", "db.internal", "10.0.0.1", 80, "private");
    check("10.0.0.1", "any", "10.0.0.1", 80, "allowed");
    check("10.0.0.1", "any", "10.0.0.2", 80, "private");
    check("10.0.0.1:80", "any", "10.0.0.1", 80, "allowed");
    check("10.0.0.1:80", "any", "10.0.0.1", 81, "private");
    check("10.1.0.0/16", "any", "10.1.255.255", 80, "allowed");
    check("10.1.0.0/16", "any", "10.2.0.0", 80, "private");
    check("10.1.0.0/16", "any", "::ffff:10.1.2.3", 80, "allowed");
    check("::ffff:10.0.0.1", "any", "10.0.0.1", 80, "allowed");
    check("10.0.0.0/8", "any", "64:ff9b::10.0.0.1", 80, "private");
    check("[::1]:8080", "any", "::1", 8080, "allowed");
    check("[::1]:8080", "any", "::1", 80, "loopback");
    check("::1", "any", "::1", 80, "allowed");
    check("[fd00::1]", "any", "fd00::1", 80, "allowed");
    check("fd00::/8", "any", "fd12::1", 80, "allowed");
    check("0.0.0.0/0", "any", "127.0.0.1", 80, "allowed");
    check("0.0.0.0/0", "any", "::1", 80, "loopback");
    check("::/0", "any", "::1", 80, "allowed");
    check("127.0.0.1/32", "any", "127.0.0.2", 80, "loopback");
}

#[test]
fn entries_are_separated_by_commas_or_white_space() {
    for list in ["a.b,10.0.0.1", " a.b \n\t10.0.0.1 ", "a.b , 10.0.0.1,,"] {
        assert_eq!(judge(list, "x", "10.0.0.1", 80), "allowed", "{list:?}");
        assert_eq!(judge(list, "a.b", "10.0.0.2", 80), "allowed", "{list:?}");
    }
    assert_eq!(Egress::parse(" ,\n"), Ok(Egress::default()));
}

#[test]
fn an_entry_that_means_nothing_is_named() {
    let check = |list: &str, entry: &str, problem: &str| {
        let error = Egress::parse(list).expect_err(list).to_string();
        assert_eq!(error, format!("egress allow-list entry `{entry}` {problem}"), "{list}");
    };
    check("ok.example,10.0.0.5/8", "10.0.0.5/8", "has bits set after its prefix");
    check("10.0.0.0/33", "10.0.0.0/33", "has a prefix length beyond the address");
    check("10.0.0.0/x", "10.0.0.0/x", "is not a network: no prefix length stands after `/`");
    check("http://a", "http://a", "is not a network: no address stands before `/`");
    check("a:0", "a:0", "has a port that is not a number from 1 to 65535");
    check("a:+80", "a:+80", "has a port that is not a number from 1 to 65535");
    check("a:65536", "a:65536", "has a port that is not a number from 1 to 65535");
    check("[::1", "[::1", "has `[` without `]`");
    check("[10.0.0.1]", "[10.0.0.1]", "has no IPv6 address in its brackets");
    check("*.example.com", "*.example.com", "is not a host name (patterns are not supported)");
    check("2130706433", "2130706433", "is an address in an unusual form: write four decimal numbers");
    check("127.1", "127.1", "is an address in an unusual form: write four decimal numbers");
    for entry in ["[::1]80", ":80", "a@b", "a..b:x:80"] {
        Egress::parse(entry).expect_err(entry);
    }
}

#[test]
fn of_several_addresses_only_the_permitted_are_used() {
    let addresses: Vec<SocketAddr> =
        ["10.0.0.1:443", "1.1.1.1:443", "[::1]:443"].iter().map(|text| text.parse().expect("an address")).collect();
    let permitted = |list: &str| Egress::parse(list).expect("a list").permitted("h", &addresses);
    assert_eq!(permitted(""), Ok(vec![addresses[1]]));
    assert_eq!(permitted("::1"), Ok(vec![addresses[1], addresses[2]]));
    let denied = Egress::default().permitted("h", &addresses[..1]).expect_err("denied");
    let expected = "host `h` is at `10.0.0.1` (private), which egress does not allow; hint: an operator can add it to \
                    RUNPROOF_EGRESS_ALLOW";
    assert_eq!(denied.to_string(), expected);
    assert_eq!(Egress::default().permitted("h", &[]), Ok(Vec::new()));
}
