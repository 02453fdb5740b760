//! Who clients say that they are.

use super::row::{Others, Sent, Setup, sent};

fn get(fields: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: Test:81\r\n{fields}\r\n")
}

/// What the app gets of a stranger's request, whatever that claims.
const OURS: [&str; 4] = [
    "host: test:81",
    "x-forwarded-for: 127.0.0.1",
    "x-forwarded-proto: http",
    "x-forwarded-host: test:81",
];

/// Claims that nobody but a trusted proxy may make.
const CLAIMS: &str = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Host: evil.example\r\n\
                      x-forwarded-host: evil.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 4443\r\n\
                      X-Forwarded-Prefix: /evil\r\nX-Forwarded-Server: evil\r\nX-Forwarded-Scheme: https\r\n\
                      X-Forwarded-Ssl: on\r\nX-Forwarded-Protocol: https\r\nX-Forwarded-By: evil\r\nX-Forwarded: for=9.9.9.9\r\n\
                      X-Forwarded-User: evil\r\nX-Forwarded-Client-Cert: evil\r\nForwarded: for=9.9.9.9;proto=https;host=evil\r\n\
                      X-Real-IP: 9.9.9.9\r\nX-Client-IP: 9.9.9.9\r\nClient-IP: 9.9.9.9\r\nTrue-Client-IP: 9.9.9.9\r\n\
                      X-Cluster-Client-IP: 9.9.9.9\r\nCF-Connecting-IP: 9.9.9.9\r\nFastly-Client-IP: 9.9.9.9\r\n\
                      X-Original-Forwarded-For: 9.9.9.9\r\nX-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\n\
                      X-Original-Host: evil.example\r\nX-Host: evil.example\r\nX-URL-Scheme: https\r\nFront-End-Https: on\r\n\
                      X-SSL-Client-Verify: evil\r\nSSL-Client-Cert: evil\r\nClient-Cert: :evil:\r\nRemote-User: evil\r\n\
                      X-Remote-User: evil\r\nRemote-Addr: 9.9.9.9\r\nProxy: http://evil.example\r\n";

/// The same by names that CGI and its like take for these.
const FOLDED: &str = "X_Forwarded_For: 9.9.9.9\r\nX-Forwarded_For: 9.9.9.9\r\nX_Forwarded-Host: evil\r\nX_FORWARDED_PROTO: https\r\n\
                      X.Forwarded.For: 9.9.9.9\r\nX!Real~IP: 9.9.9.9\r\nX_Real_IP: 9.9.9.9\r\nClient_IP: 9.9.9.9\r\n\
                      X_Forwarded_Anything: evil\r\nX-Forwarded-Any_Thing: evil\r\nRemote_User: evil\r\nX_Original_URL: /evil\r\n\
                      SSL_Client_Verify: evil\r\nX_Request_Id: evil\r\nDeployer_Check: evil\r\nContent_Length: 666\r\n\
                      Transfer_Encoding: evil\r\nContent_Type: evil\r\nProxy_Authorization: evil\r\nKeep_Alive: evil\r\n";

const EVIL: [&str; 7] = ["9.9.9.9", "8.8.8.8", "evil", "https", "4443", ": 666", ": on"];

pub(super) fn rows() -> Vec<Sent> {
    const OWN: Others = Others::AgreeOnTheEnd;
    vec![
        sent("two hosts", get("Host: evil.example\r\n")).refused(400),
        sent("nothing", get("")).with(&OURS).others(OWN),
        sent("claims of a stranger", get(CLAIMS)).with(&OURS).without(&EVIL).once(&["forwarded"]).others(OWN),
        sent("claims by names that a server may fold", get(FOLDED)).with(&OURS).without(&EVIL).others(OWN),
        sent(
            "claims by such names, of a trusted proxy",
            get(FOLDED),
        )
        .setup(Setup::Trusted)
        .with(&OURS)
        .without(&EVIL)
        .others(OWN),
        sent("claims of a stranger that Connection names", get(&format!("Connection: x-forwarded-for, x-forwarded-host, x-forwarded-proto, host\r\n{CLAIMS}")))
            .with(&OURS)
            .without(&EVIL)
            .others(OWN),
        sent(
            "a stranger's absolute target",
            "GET http://other.example:82/a HTTP/1.1\r\nHost: test\r\nX-Forwarded-Host: evil\r\n\r\n",
        )
        .with(&["host: other.example:82", "x-forwarded-host: other.example:82"])
        .without(&EVIL)
        .others(Others::Differ("HAProxy wants the two hosts to be the same")),
        sent("names with an underscore that mean nothing", get("my_field: 1\r\nX_Mine: 2\r\nX-Forwardedly: 3\r\n"))
            .with(&["my_field: 1", "x_mine: 2", "x-forwardedly: 3"])
            .others(OWN),
        sent(
            "claims of a trusted proxy",
            get("X-Forwarded-For: 9.9.9.9, 8.8.8.8\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: outside.example\r\nX-Forwarded-Port: 4443\r\nX-Real-IP: 9.9.9.9\r\n\
                 Forwarded: for=9.9.9.9\r\nForwarded: for=8.8.8.8\r\nX-Forwarded-Prefix: /p\r\nRemote-User: ann\r\n"),
        )
        .setup(Setup::Trusted)
        .with(&[
            "x-forwarded-for: 9.9.9.9, 8.8.8.8, 7.7.7.7, 127.0.0.1",
            "x-forwarded-proto: https",
            "x-forwarded-host: outside.example",
            "x-forwarded-port: 4443",
            "x-real-ip: 9.9.9.9",
            "forwarded: for=9.9.9.9, for=8.8.8.8",
            "x-forwarded-prefix: /p",
            "remote-user: ann",
        ])
        .once(&["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"])
        .others(OWN),
        sent(
            "claims of a trusted proxy behind those that it has passed on",
            get("X-Forwarded-Proto: evil\r\nX-Real-IP: evil\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n\
                 x-real-ip: 9.9.9.9\r\nX-Forwarded-Host: a\r\n"),
        )
        .setup(Setup::Trusted)
        .with(&["x-forwarded-proto: https", "x-real-ip: 9.9.9.9", "x-forwarded-host: a"])
        .without(&["evil"])
        .others(OWN),
        sent(
            "claims of a trusted proxy that are empty",
            get("X-Forwarded-For:\r\nX-Forwarded-Proto: \r\nX-Forwarded-Host:\r\nX-Real-IP:\r\nForwarded:\r\n"),
        )
        .setup(Setup::Trusted)
        .with(&OURS)
        .without(&["x-real-ip", "\nforwarded"])
        .others(OWN),
        sent("a trusted proxy that claims nothing", get("")).setup(Setup::Trusted).with(&OURS).others(OWN),
    ]
}
