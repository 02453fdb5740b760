//! The shape of the tables. A row is made by a sentence: `sent("what it is", bytes).refused(400)`.

/// What a client sends, and what may become of it.
pub(super) struct Sent {
    pub(super) name: &'static str,
    /// All that the client sends. The runner sends `GET /last` behind it.
    pub(super) bytes: Vec<u8>,
    pub(super) setup: Setup,
    pub(super) end: End,
    /// How many requests the app gets, where it passes.
    pub(super) requests: usize,
    /// Lines that the app gets, in lower case.
    pub(super) with: Vec<&'static str>,
    /// Texts that the app never gets, in lower case.
    pub(super) without: Vec<&'static str>,
    pub(super) others: Others,
}

/// What an app says to a request, and what may become of it.
pub(super) struct Said {
    pub(super) name: &'static str,
    /// The client's request, which says `Connection: close`, so that what the client gets has an end.
    pub(super) asked: Vec<u8>,
    /// Whether the app says it when it has the request's head, and reads nothing more.
    pub(super) is_early: bool,
    /// What the app says, a write each.
    pub(super) writes: Vec<Vec<u8>>,
    /// Whether the app closes the connection then.
    pub(super) closes: bool,
    pub(super) end: End,
    /// Lines that the client gets, in lower case.
    pub(super) with: Vec<&'static str>,
    /// Texts that the client never gets, in lower case.
    pub(super) without: Vec<&'static str>,
    /// Whether the connection to the app may serve the next request.
    pub(super) keeps: bool,
    pub(super) others: Others,
}

/// Which proxy it is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Setup {
    /// With the defaults.
    Plain,
}

/// What becomes of a row's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is answered with this status by the proxy, and nothing of it goes on.
    Refused(u16),
    /// The other side gets a part of it, and can see that it is a part. A client's request is answered with this status
    /// by the proxy; of an app's answer this is the status that the client gets.
    BrokenOff(u16),
    /// It goes on whole. This is the status that the client gets.
    Passed(u16),
}

/// What nginx and HAProxy do about it, as their packages set them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Both refuse what this one refuses, and pass what it passes; `with` and `without` hold for what they pass too.
    Agree,
    /// The same, but they write other fields than this proxy does.
    AgreeOnTheEnd,
    /// One of them does something else: which, and what.
    Differ(&'static str),
}

/// A row of what clients send.
pub(super) fn sent(name: &'static str, bytes: impl Into<Vec<u8>>) -> Sent {
    Sent {
        name,
        bytes: bytes.into(),
        setup: Setup::Plain,
        end: End::Passed(200),
        requests: 1,
        with: Vec::new(),
        without: Vec::new(),
        others: Others::Agree,
    }
}

impl Sent {
    pub(super) fn refused(mut self, status: u16) -> Self {
        self.end = End::Refused(status);
        self
    }

    pub(super) fn broken_off(mut self, status: u16) -> Self {
        self.end = End::BrokenOff(status);
        self
    }

    /// The app gets these lines.
    pub(super) fn with(mut self, lines: &[&'static str]) -> Self {
        self.with.extend(lines);
        self
    }

    /// The app never gets these texts.
    pub(super) fn without(mut self, texts: &[&'static str]) -> Self {
        self.without.extend(texts);
        self
    }

    pub(super) fn others(mut self, others: Others) -> Self {
        self.others = others;
        self
    }
}

/// A row of what apps say, to a GET.
pub(super) fn said(name: &'static str, bytes: impl Into<Vec<u8>>) -> Said {
    Said {
        name,
        asked: b"GET /row HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".to_vec(),
        is_early: false,
        writes: vec![bytes.into()],
        closes: false,
        end: End::Passed(200),
        with: Vec::new(),
        without: Vec::new(),
        keeps: true,
        others: Others::Agree,
    }
}

impl Said {
    /// To this request: its path is /row, and it says `Connection: close`.
    pub(super) fn to(mut self, asked: impl Into<Vec<u8>>) -> Self {
        self.asked = asked.into();
        self
    }

    /// By a write of its own behind the one before.
    pub(super) fn and(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.writes.push(bytes.into());
        self
    }

    pub(super) fn early(mut self) -> Self {
        self.is_early = true;
        self
    }

    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self.never_again()
    }

    pub(super) fn passed(mut self, status: u16) -> Self {
        self.end = End::Passed(status);
        self
    }

    pub(super) fn refused(mut self, status: u16) -> Self {
        self.end = End::Refused(status);
        self.never_again()
    }

    pub(super) fn broken_off(mut self, status: u16) -> Self {
        self.end = End::BrokenOff(status);
        self.never_again()
    }

    /// The connection to the app serves no other request.
    pub(super) fn never_again(mut self) -> Self {
        self.keeps = false;
        self
    }

    /// The client gets these lines.
    pub(super) fn with(mut self, lines: &[&'static str]) -> Self {
        self.with.extend(lines);
        self
    }

    /// The client never gets these texts.
    pub(super) fn without(mut self, texts: &[&'static str]) -> Self {
        self.without.extend(texts);
        self
    }

    pub(super) fn others(mut self, others: Others) -> Self {
        self.others = others;
        self
    }
}
