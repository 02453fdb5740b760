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

/// How long the two sides may take to answer the goodbye, and to end.
const GOODBYE: Duration = Duration::from_millis(500);

/// The status code of "going away".
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// Carries frames both ways until both sides have ended. Once `pulse` parts, each side is sent a close frame behind
/// the frame that is on its way to it, and its own is waited for. Gives whether the client was sent one.
pub(super) async fn carry(
    client: impl AsyncRead + AsyncWrite,
    upstream: impl AsyncRead + AsyncWrite,
    pulse: &Pulse,
) -> io::Result<bool> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let (plain, masked) = (close_frame(None), close_frame(Some(mask())));
    let (mut down, mut up) = (Frames::default(), Frames::default());
    let (told, _) = tokio::try_join!(
        pass(&mut down, &mut from_upstream, &mut to_client, &plain, pulse),
        pass(&mut up, &mut from_client, &mut to_upstream, &masked, pulse),
    )?;
    let ends = async {
        tokio::join!(
            end(up, &mut from_client, &mut to_client),
            end(down, &mut from_upstream, &mut to_upstream),
        )
    };
    let _ = tokio::time::timeout(GOODBYE, ends).await;
    Ok(told)
}

/// Passes `frames` on until there are no more, or `pulse` parts: then says `goodbye`. Gives whether it was said, or had
/// been by the other side.
async fn pass(
    frames: &mut Frames,
    from: &mut ReadHalf<impl AsyncRead>,
    to: &mut WriteHalf<impl AsyncWrite>,
    goodbye: &[u8],
    pulse: &Pulse,
) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER];
    let mut behind = 0..0;
    loop {
        let may_part = || frames.is_between() && pulse.parting().is_some();
        let came = match read_unless(from, &mut buffer, may_part).await? {
            None => break,
            Some(0) => {
                to.shutdown().await?;
                return Ok(false);
            }
            Some(came) => came,
        };
        if pulse.parting().is_none() {
            frames.follow(&buffer[..came]);
            to.write_all(&buffer[..came]).await?;
            continue;
        }
        let passed = frames.follow_one(&buffer[..came]);
        to.write_all(&buffer[..passed]).await?;
        if frames.is_between() {
            behind = passed..came;
            break;
        }
    }
    // A failure is this side's alone from here on: the other one still gets its goodbye.
    let told = frames.has_closed() || to.write_all(goodbye).await.is_ok();
    frames.follow(&buffer[behind]);
    Ok(told)
}

/// Ends the connection to one side once it has closed as well, by its `frames`, and takes what still comes of it.
///
/// Not before: a program in between ends both of its connections when one has ended, and where it has not read all of
/// the client's by then, the client sees a reset for an end.
async fn end(mut frames: Frames, from: &mut ReadHalf<impl AsyncRead>, to: &mut WriteHalf<impl AsyncWrite>) {
    let mut buffer = vec![0; BUFFER];
    while !frames.has_closed() {
        match from.read(&mut buffer).await {
            Ok(came @ 1..) => frames.follow(&buffer[..came]),
            _ => break,
        }
    }
    let _ = to.shutdown().await;
    let _ = tokio::io::copy(from, &mut tokio::io::sink()).await;
}

/// How many bytes come next, 0 at the end; none as soon as `stop` says so.
async fn read_unless(
    from: &mut ReadHalf<impl AsyncRead>,
    buffer: &mut [u8],
    stop: impl Fn() -> bool,
) -> io::Result<Option<usize>> {
    let mut read = ReadBuf::new(buffer);
    let stopped = poll_fn(|cx| {
        if stop() {
            return Poll::Ready(Ok(true));
        }
        Pin::new(&mut *from).poll_read(cx, &mut read).map_ok(|()| false)
    });
    Ok((!stopped.await?).then_some(read.filled().len()))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use tokio::io::DuplexStream;
    use tokio::time::timeout;

    use super::super::pulse::{Clock, Limits, Phase};
    use super::*;

    const FRAME: &[u8] = b"\x81\x84\0\0\0\0ping";
    const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe9";

    const NO_LIMITS: Limits = Limits {
        header: u64::MAX,
        idle: u64::MAX,
        body: u64::MAX,
        response: u64::MAX,
    };

    fn pulse() -> Pulse {
        let pulse = Pulse::new(Arc::new(Clock::new()), Phase::WebSocket);
        pulse.belongs_to(Waker::noop());
        pulse
    }

    fn part(pulse: &Pulse) {
        pulse.part();
        pulse.orders(&NO_LIMITS);
    }

    /// What comes before a goodbye has had its time; none where nothing does.
    async fn next(from: &mut DuplexStream) -> Option<Vec<u8>> {
        let mut buffer = [0; 100];
        let came = timeout(GOODBYE / 3, from.read(&mut buffer)).await.ok()?;
        Some(buffer[..came.expect("no failure")].to_vec())
    }

    fn is_masked_close(bytes: &[u8]) -> bool {
        bytes.len() == CLOSE.len() && bytes.starts_with(&CLOSE[..2])
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_its_side_has_closed_and_not_before() {
        let (mut client, near_client) = tokio::io::duplex(100);
        let (mut app, near_app) = tokio::io::duplex(100);
        let pulse = pulse();
        part(&pulse);
        let story = async {
            assert_eq!(next(&mut client).await.unwrap(), close_frame(None));
            client.write_all(FRAME).await.unwrap();
            assert_eq!(next(&mut client).await, None);
            client.write_all(CLOSE).await.unwrap();
            assert_eq!(next(&mut client).await.unwrap(), b"");
            assert!(is_masked_close(&next(&mut app).await.unwrap()));
            assert_eq!(next(&mut app).await, None);
            app.write_all(&close_frame(None)).await.unwrap();
            assert_eq!(next(&mut app).await.unwrap(), b"");
        };
        let (told, ()) = tokio::join!(carry(near_client, near_app, &pulse), story);
        assert!(told.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_with_the_last_frame_may_be_the_answer() {
        let (mut client, near_client) = tokio::io::duplex(100);
        let (mut app, near_app) = tokio::io::duplex(100);
        let (begun, rest) = FRAME.split_at(3);
        let pulse = pulse();
        let story = async {
            client.write_all(begun).await.unwrap();
            assert_eq!(next(&mut app).await.unwrap(), begun);
            part(&pulse);
            client.write_all(&[rest, CLOSE].concat()).await.unwrap();
            let told = next(&mut app).await.unwrap();
            assert!(told.starts_with(rest) && is_masked_close(&told[rest.len()..]));
            // The other way is looked at when something comes, as the pulse would have it.
            app.write_all(FRAME).await.unwrap();
            assert_eq!(next(&mut client).await.unwrap(), close_frame(None));
            assert_eq!(next(&mut client).await.unwrap(), b"");
        };
        let (told, ()) = tokio::join!(carry(near_client, near_app, &pulse), story);
        assert!(told.unwrap());
    }
}
