//! Ten megabytes one way or the other, slowly enough to be under way at a flip.

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use super::super::http::{Connection, Failure, Pace, Reply, Request};
use super::Shared;

/// Bytes of a body.
const SIZE: usize = 10 << 20;

/// A second and a half for all of it.
const PACE: Pace = Pace {
    piece: 128 << 10,
    pause: Duration::from_millis(20),
};

/// What `/download` answers again and again, and what is uploaded: byte `i` is `i * 31 + i / 256`, cut to 8 bits.
static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..65_536_u32).map(|i| (i * 31 + i / 256) as u8).collect());

static UPLOAD: LazyLock<(Vec<u8>, String)> = LazyLock::new(|| {
    let body: Vec<u8> = PATTERN.iter().copied().cycle().take(SIZE).collect();
    let answer = answer_to(&body);
    (body, answer)
});

/// What `/upload` answers to `body`: its length and its hash.
pub(super) fn answer_to(body: &[u8]) -> String {
    // FNV-1a of 64 bits, as the test app computes it.
    let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{} {hash:016x}", body.len())
}

/// Before the first request, so that none waits for it.
pub(super) fn prepare() {
    LazyLock::force(&UPLOAD);
}

/// Reads it all, and compares every byte.
pub(super) fn download(shared: &Shared, connection: &mut Connection) -> Result<Reply, Failure> {
    let request = Request {
        path: format!("/download?bytes={SIZE}"),
        host: shared.load.host.clone(),
        ..Request::default()
    };
    let reply = connection.begin(&request, PACE, shared.load.timeout)?;
    if reply.status != 200 {
        return Err(Failure::Status(reply.status));
    }
    let (mut at, mut buffer) = (0, vec![0; PACE.piece]);
    let mut rested = 0;
    while at < SIZE {
        let piece = connection.read_piece(&mut buffer, SIZE - at)?;
        let mut rest = piece;
        while !rest.is_empty() {
            let wanted = &PATTERN[at % PATTERN.len()..];
            let length = wanted.len().min(rest.len());
            if rest[..length] != wanted[..length] {
                return Err(Failure::WrongBody);
            }
            rest = &rest[length..];
            at += length;
        }
        if at / PACE.piece > rested {
            rested = at / PACE.piece;
            thread::sleep(PACE.pause);
        }
    }
    Ok(reply)
}

/// Sends it all, and compares the hash that the app has computed.
pub(super) fn upload(shared: &Shared, connection: &mut Connection) -> Result<Reply, Failure> {
    let (body, wanted) = &*UPLOAD;
    let request = Request {
        method: "POST".into(),
        path: "/upload".into(),
        host: shared.load.host.clone(),
        body: body.clone(),
        ..Request::default()
    };
    let mut reply = connection.begin(&request, PACE, shared.load.timeout)?;
    if reply.status != 200 {
        return Err(Failure::Status(reply.status));
    }
    connection.read_body(&mut reply)?;
    if reply.text() == *wanted {
        Ok(reply)
    } else {
        Err(Failure::WrongBody)
    }
}
