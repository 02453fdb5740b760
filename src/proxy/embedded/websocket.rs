//! A WebSocket on its way through: bytes both ways, and a goodbye in form where the proxy has to end it.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

use super::frames::Frames;
use super::pulse::Pulse;

/// Bytes that are held of each direction.
const BUFFER: usize = 8 << 10;

/// How long a side may take to answer a goodbye. Its connection is read meanwhile: one that is closed with
/// something unread is reset, and a reset can overtake the goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// The status code of "going away".
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// Carries frames both ways until both sides have ended. Once `pulse` parts, each side is sent a close frame behind
/// the frame that is on its way to it. Gives whether the client was sent one.
pub(super) async fn carry(
    client: impl AsyncRead + AsyncWrite,
    upstream: impl AsyncRead + AsyncWrite,
    pulse: &Pulse,
) -> io::Result<bool> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let (plain, masked) = (close_frame(None), close_frame(Some(mask())));
    let (told, _) = tokio::try_join!(
        one_way(from_upstream, to_client, &plain, pulse),
        one_way(from_client, to_upstream, &masked, pulse),
    )?;
    Ok(told)
}

async fn one_way(
    mut from: ReadHalf<impl AsyncRead>,
    mut to: WriteHalf<impl AsyncWrite>,
    goodbye: &[u8],
    pulse: &Pulse,
) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER];
    let mut frames = Frames::default();
    loop {
        let may_part = || frames.is_between() && pulse.parting().is_some();
        let came = match read_unless(&mut from, &mut buffer, may_part).await? {
            None => break,
            Some([]) => {
                to.shutdown().await?;
                return Ok(false);
            }
            Some(came) => came,
        };
        let passed = match pulse.parting() {
            None => {
                frames.follow(came);
                came.len()
            }
            Some(_) => frames.follow_one(came),
        };
        to.write_all(&came[..passed]).await?;
    }
    // From here on a failure is this side's alone: the other one still gets its goodbye.
    let mut told = true;
    if !frames.has_closed() {
        told = to.write_all(goodbye).await.is_ok();
    }
    let _ = to.shutdown().await;
    let rest = async { while matches!(from.read(&mut buffer).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(GOODBYE, rest).await;
    Ok(told)
}

/// What comes next, nothing at its end; none as soon as `stop` says so.
async fn read_unless<'a>(
    from: &mut ReadHalf<impl AsyncRead>,
    buffer: &'a mut [u8],
    stop: impl Fn() -> bool,
) -> io::Result<Option<&'a [u8]>> {
    let mut read = ReadBuf::new(buffer);
    let ended = poll_fn(|cx| {
        if stop() {
            return Poll::Ready(Ok(true));
        }
        Pin::new(&mut *from).poll_read(cx, &mut read).map_ok(|()| false)
    });
    let stopped = ended.await?;
    let length = read.filled().len();
    Ok((!stopped).then_some(&buffer[..length]))
}

/// A close frame that says "going away", masked as a client's has to be where there is a `mask`.
fn close_frame(mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = vec![0x88, GOING_AWAY.len() as u8];
    match mask {
        None => frame.extend_from_slice(&GOING_AWAY),
        Some(mask) => {
            frame[1] |= 0x80;
            frame.extend_from_slice(&mask);
            frame.extend(GOING_AWAY.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        }
    }
    frame
}

/// Four bytes that nobody knows beforehand.
fn mask() -> [u8; 4] {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    [a, b, c, d]
}
