//! Every key of the web config file: those that are read, and those of the toolkit that are refused, with what to
//! do instead. Serves `web`.

use super::super::keys::{Form, Key, Section};

const fn key(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, required: false, about }
}

const fn must(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, required: true, about }
}

pub(super) static ROOT: Section = Section {
    what: "the web config",
    keys: &[
        key("tls_server_config", Form::Section(&TLS), "Certificate, key, versions, client certificates."),
        key("http_server_config", Form::Section(&HTTP), "Headers of every answer."),
        key(
            "basic_auth_users",
            Form::Named(&Form::Text),
            "Names, each with the bcrypt hash of its password.",
        ),
    ],
};

pub(super) static TLS: Section = Section {
    what: "`tls_server_config`",
    keys: &[
        must("cert_file", Form::Text, "PEM file: the certificate, then its intermediates."),
        must("key_file", Form::Text, "PEM file with the certificate's private key."),
        key("client_auth_type", Form::Text, "Whether clients show a certificate."),
        key("client_ca_file", Form::Text, "PEM file: who may sign clients' certificates."),
        key(
            "client_allowed_sans",
            Form::List(&Form::Text),
            "Of them, only certificates for one of these names.",
        ),
        key("min_version", Form::Text, "TLS12 or TLS13."),
        key("max_version", Form::Text, "TLS12 or TLS13."),
    ],
};

pub(super) static HTTP: Section = Section {
    what: "`http_server_config`",
    keys: &[
        key("http2", Form::Flag, "Only `false`: HTTP/1.1 is spoken."),
        key("headers", Form::Section(&HEADERS), "Headers of every answer."),
    ],
};

pub(super) static HEADERS: Section = Section {
    what: "`headers`",
    keys: &[
        key("Content-Security-Policy", Form::Text, "Sent beside our own, which stays."),
        key("X-Frame-Options", Form::Text, "Ours is `DENY` and stays."),
        key("X-Content-Type-Options", Form::Text, "Ours is `nosniff` and stays."),
        key("X-XSS-Protection", Form::Text, "As given."),
        key("Strict-Transport-Security", Form::Text, "As given."),
    ],
};

/// All sections, so that a line that belongs to no tree may show their words.
pub(in super::super) static SECTIONS: &[&Section] = &[&ROOT, &TLS, &HTTP, &HEADERS];

/// Keys that the toolkit knows and that mean nothing here, by section.
pub(super) static REFUSED: &[(&str, &[(&str, &str)])] = &[
    (
        ROOT.what,
        &[(
            "rate_limit",
            "remove it: connections, heads and wrong passwords are bounded by the daemon itself",
        )],
    ),
    (
        TLS.what,
        &[
            ("cert", "write the certificate to a file and name it in `cert_file`"),
            ("key", "write the key to a file that only scopewatch may read, and name it in `key_file`"),
            ("client_ca", "write it to a file and name it in `client_ca_file`"),
            (
                "cipher_suites",
                "remove it: only suites with forward secrecy and authenticated encryption are spoken",
            ),
            ("prefer_server_cipher_suites", "remove it: the server's order always counts"),
            ("curve_preferences", "remove it: X25519, then P-256 and P-384 are spoken"),
        ],
    ),
];
