//! Streams that last until somebody ends them: event streams, and WebSockets with a counter each way.

use std::thread;
use std::time::Duration;

use super::super::http::{Connection, Failure, Pace, Request};
use super::outcome::Good;
use super::{Shared, version_of};

/// Between two messages.
const PAUSE: Duration = Duration::from_millis(50);

/// A head alone.
const NO_BODY: Pace = Pace {
    piece: 1,
    pause: Duration::ZERO,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// The status code of "going away".
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// Counts the events until the stream ends. They must come in order, and the last one must be whole.
pub(super) fn events(shared: &Shared, connection: &mut Connection) -> Result<Good, Failure> {
    let head = connection.begin(&request(shared, "/sse"), NO_BODY, shared.load.timeout)?;
    if head.status != 200 {
        return Err(Failure::Status(head.status));
    }
    let version = version_of(&head);
    let (mut came, mut count) = (String::new(), 0);
    // Another program may hand on a stream without a length as it came: then it ends with its connection.
    let is_framed = shared.load.embedded || head.header("transfer-encoding").is_some();
    let read = match is_framed {
        true => Connection::read_chunk,
        false => Connection::read_to_end,
    };
    while let Some(chunk) = read(connection, shared.load.timeout)? {
        came += &String::from_utf8_lossy(&chunk);
        while let Some((event, rest)) = came.split_once("\n\n") {
            count += 1;
            if event != format!("data: {version} {count}") {
                return Err(Failure::WrongBody);
            }
            came = rest.to_owned();
        }
        if shared.is_stopping() {
            return Ok(good(version, false));
        }
    }
    // It may also keep the connection behind the whole answer.
    let may_stay = !shared.load.embedded && connection.is_open();
    if came.is_empty() && (may_stay || connection.ends(shared.load.timeout)) {
        Ok(good(version, true))
    } else {
        Err(Failure::Truncated)
    }
}

/// Sends a number a time, which must come back with the app's own count, until either side closes.
pub(super) fn websocket(shared: &Shared, connection: &mut Connection) -> Result<Good, Failure> {
    let timeout = shared.load.timeout;
    let mut request = request(shared, "/ws");
    request.headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let head = connection.begin(&request, NO_BODY, timeout)?;
    if head.status != 101 {
        return Err(Failure::Status(head.status));
    }
    let version = version_of(&head);
    for count in 1.. {
        let stopping = shared.is_stopping();
        let (kind, message) = match stopping {
            true => (CLOSE, NORMAL.to_vec()),
            false => (TEXT, count.to_string().into_bytes()),
        };
        // The proxy may have closed: then the answer below is its goodbye.
        let _ = connection.say(&frame(kind, &message));
        match read_frame(connection, timeout)? {
            (CLOSE, code) if code == GOING_AWAY => {
                let _ = connection.say(&frame(CLOSE, &code));
                return match connection.ends(timeout) {
                    true => Ok(good(version, true)),
                    false => Err(Failure::Reset),
                };
            }
            (CLOSE, code) if stopping && code == NORMAL => return Ok(good(version, false)),
            (TEXT, came) if came == format!("{count} {count}").into_bytes() => thread::sleep(PAUSE),
            _ => return Err(Failure::WrongBody),
        }
    }
    unreachable!("the loop has no end of its own")
}

fn request(shared: &Shared, path: &str) -> Request {
    Request {
        path: path.into(),
        host: shared.load.host.clone(),
        ..Request::default()
    }
}

fn good(version: String, closed: bool) -> Good {
    Good {
        version,
        order: None,
        closed: Some(closed),
    }
}

/// A short frame, masked with zeros.
fn frame(kind: u8, message: &[u8]) -> Vec<u8> {
    [&[0x80 | kind, 0x80 | message.len() as u8, 0, 0, 0, 0], message].concat()
}

/// A short frame of a server.
fn read_frame(connection: &mut Connection, timeout: Duration) -> Result<(u8, Vec<u8>), Failure> {
    let mut head = [0; 2];
    connection.hear(&mut head, timeout)?;
    let mut message = vec![0; usize::from(head[1])];
    if head[1] > 125 {
        return Err(Failure::Malformed);
    }
    connection.hear(&mut message, timeout)?;
    Ok((head[0] & 0x0f, message))
}
