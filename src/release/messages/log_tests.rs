use jiff::Timestamp;
use proptest::prelude::*;

use super::log::{Shown, Tone, log_line};
use crate::ground::told::Told;
use crate::model::{Intent, Promotion, ReleaseId, ServiceName, Slot, Source};
use crate::release::journal_entry::{Outcome, Step, Why};
use crate::release::log::{Again, Ahead, Event, Heading, LogLine, Verdict};
use crate::store::Live;

fn shown(event: Event) -> Shown {
    log_line(&LogLine::Event(Timestamp::UNIX_EPOCH, event))
}

fn text(event: Event) -> String {
    shown(event).text
}

fn commit() -> Source {
    Source::Commit {
        commit: "256390ee5d3f7c1b0a9e8d7c6b5a49382716f5e4".parse().unwrap(),
        subject: "v5".into(),
        reference: "refs/heads/main".into(),
    }
}

fn heading(source: Source, intent: Intent, redeploys: Option<u64>) -> Event {
    Event::Begun(Heading {
        app: "shop".parse().unwrap(),
        slot: Slot::Green,
        release: ReleaseId(5),
        source,
        intent,
        redeploys: redeploys.map(ReleaseId),
    })
}

fn verdict(outcome: Outcome) -> Verdict {
    let digest = format!("sha256:86c02f11e5ff{}", "0".repeat(52)).parse().unwrap();
    Verdict {
        app: "shop".parse().unwrap(),
        slot: Slot::Green,
        release: ReleaseId(5),
        outcome,
        commit: commit().commit().cloned(),
        digests: [(ServiceName::web(), digest)].into(),
        took: 1_340,
        drained: 1,
        cut: 0,
        address: "http://127.0.0.1/".into(),
        live: Some(Live {
            slot: Slot::Blue,
            release: ReleaseId(4),
        }),
        again: Again::Redeploy,
    }
}

fn failed(why: Why) -> Verdict {
    verdict(Outcome::Failed {
        step: Step::Build,
        why,
    })
}

fn ahead(step: Option<&str>) -> Ahead {
    Ahead {
        release: ReleaseId(4),
        slot: Slot::Blue,
        step: step.map(str::to_owned),
    }
}

fn error(told: Told, instead: Option<&str>) -> Why {
    let instead = instead.map(str::to_owned);
    Why::Error { told, instead }
}

fn no_space() -> Told {
    Told::new("no space left while trying to build").hint("`deployer prune`")
}

/// Each kind of event, and the words for it.
fn events() -> Vec<(Event, &'static str)> {
    let deploy = Intent::Deploy {
        promote: Promotion::Yes,
    };
    let back = |of| Source::of_release(ReleaseId(3), of);
    vec![
        (
            heading(commit(), deploy, None),
            "shop/green release 5: commit 256390ee \"v5\"",
        ),
        (
            heading(commit(), deploy, Some(4)),
            "shop/green release 5: commit 256390ee \"v5\" again, as in release 4",
        ),
        (
            heading(back(None), deploy, None),
            "shop/green release 5: back to release 3",
        ),
        (
            heading(back(Some(commit())), deploy, None),
            "shop/green release 5: back to release 3 (commit 256390ee \"v5\")",
        ),
        (
            heading(
                back(None),
                Intent::Promote {
                    from: Some(Slot::Blue),
                },
                None,
            ),
            "shop/green release 5: traffic goes from blue to green",
        ),
        (
            Event::WaitsToBeBuilt(ahead(Some("build"))),
            " waiting: release 4 (blue, now at build) comes first on this slot",
        ),
        (
            Event::WaitsToTakeEffect(ahead(None)),
            " waiting: release 4 (blue) takes effect first",
        ),
        (
            Event::WaitsForCommand {
                command: "deployer recover".into(),
            },
            " waiting: `deployer recover` works on the app and comes first",
        ),
        (
            Event::StaysOnStandby { later: ReleaseId(6) },
            " note: it stays on standby, since release 6, which was asked for later, is live",
        ),
        (
            Event::TakesNoEffect { later: ReleaseId(6) },
            " note: it does not take effect, since release 6, which was asked for later, holds",
        ),
        (Event::Resumed, " resumed: the worker of this release was killed"),
        (Event::Note("it is so".into()), " note: it is so"),
        (
            Event::Note(no_space()),
            " note: no space left while trying to build. Hint: `deployer prune`",
        ),
        (
            Event::Done {
                step: Step::Build,
                took: 480,
                what: "127.0.0.1:5000/shop:256390ee-5".into(),
            },
            " build      0.48 s  127.0.0.1:5000/shop:256390ee-5",
        ),
        (
            Event::Done {
                step: Step::Record,
                took: 36,
                what: String::new(),
            },
            " record      36 ms",
        ),
        (
            Event::Failed {
                step: Step::Build,
                took: 12_400,
                why: error(no_space(), None),
            },
            " build      12.4 s  failed: no space left while trying to build. Hint: `deployer prune`",
        ),
        (
            Event::Failed {
                step: Step::Probe,
                took: 40,
                why: Why::Cancelled,
            },
            " probe       40 ms  failed: cancelled",
        ),
        (
            Event::Left {
                step: Step::Retire,
                why: error("it hangs".into(), None),
            },
            " retire             not done: it hangs. The next release, or `deployer recover`, makes up for it",
        ),
        (
            Event::Undone {
                step: Step::Start,
                what: "1 new instance removed again".into(),
            },
            " start              taken back: 1 new instance removed again",
        ),
        (
            Event::Unfinished {
                app: "shop".parse().unwrap(),
                release: ReleaseId(5),
                why: no_space(),
            },
            "unfinished: shop release 5: no space left while trying to build. Hint: `deployer prune`. Hint: once that is \
             mended, `deployer recover shop` brings it to its end",
        ),
    ]
}

/// Each kind of verdict, and the words for it.
fn verdicts() -> Vec<(Verdict, &'static str)> {
    let by_command = |verdict: Verdict| Verdict {
        again: Again::Command,
        live: None,
        ..verdict
    };
    let gated = |verdict: Verdict| Verdict {
        again: Again::Push,
        ..verdict
    };
    vec![
        (
            verdict(Outcome::Live),
            "live: shop/green release 5 (commit 256390ee, image 86c02f11e5ff) in 1.34 s, 1 request drained, 0 cut, at \
             http://127.0.0.1/",
        ),
        (
            Verdict {
                commit: None,
                digests: [].into(),
                ..verdict(Outcome::Standby)
            },
            "standby: shop/green release 5 in 1.34 s, at http://127.0.0.1/. Hint: `deployer promote shop/green` puts it live",
        ),
        (
            verdict(Outcome::Superseded { by: ReleaseId(6) }),
            "superseded: shop/green release 5 by release 6, which was asked for later. Release 4 is still live, on blue. Hint: \
             `deployer redeploy shop/green` releases the same commit all the same",
        ),
        (
            Verdict {
                digests: [].into(),
                ..verdict(Outcome::Superseded { by: ReleaseId(6) })
            },
            "superseded: shop/green release 5 by release 6, which was asked for later. Release 4 is still live, on blue.",
        ),
        (
            verdict(Outcome::Dropped { why: Why::Cancelled }),
            "cancelled: shop/green release 5 before its first step. Release 4 is still live, on blue. Hint: `deployer \
             redeploy shop/green` tries the same commit again",
        ),
        (
            failed(error(no_space(), None)),
            "failed: shop/green release 5 at build: no space left while trying to build. Hint: `deployer prune`. Release 4 is \
             still live, on blue. Hint: `deployer log shop/5` shows this log; `deployer redeploy shop/green` tries the same \
             commit again",
        ),
        (
            failed(error("it is gone.".into(), Some("push it again"))),
            "failed: shop/green release 5 at build: it is gone. Release 4 is still live, on blue. Hint: `deployer log shop/5` \
             shows this log; push it again",
        ),
        (
            gated(failed(Why::Interrupted)),
            "interrupted: shop/green release 5 at build, its worker was killed. Release 4 is still live, on blue. Hint: the \
             push is declined, so that the same `git push` tries again",
        ),
        (
            by_command(failed(Why::Cancelled)),
            "cancelled: shop/green release 5 at build. Nothing is live yet. Hint: the same command tries again",
        ),
    ]
}

#[test]
fn every_event_has_its_words() {
    for (event, words) in events() {
        assert_eq!(text(event.clone()), words, "{event:?}");
    }
    for (verdict, words) in verdicts() {
        assert_eq!(text(Event::Verdict(verdict.clone())), words, "{verdict:?}");
    }
}

#[test]
fn every_event_is_read_as_it_was_written() {
    let verdicts = verdicts().into_iter().map(|(verdict, _)| Event::Verdict(verdict));
    for event in events().into_iter().map(|(event, _)| event).chain(verdicts) {
        let written = serde_json::to_string(&event).unwrap();
        assert_eq!(
            serde_json::from_str::<Event>(&written).unwrap(),
            event,
            "{written}"
        );
    }
}

#[test]
fn an_end_is_seen_by_its_colour_and_a_tools_output_is_told_apart() {
    let tone = |outcome| shown(Event::Verdict(verdict(outcome))).tone;
    assert_eq!(
        [Outcome::Live, Outcome::Standby].map(tone),
        [Tone::Good, Tone::Good]
    );
    assert_eq!(tone(Outcome::Superseded { by: ReleaseId(6) }), Tone::Bad);
    assert_eq!(shown(Event::Resumed).tone, Tone::Plain);
    // Nothing that a build prints is taken for deployer's own words.
    let output = log_line(&LogLine::Output("live: shop/green release 5".into()));
    assert_eq!(
        (output.text.as_str(), output.tone),
        ("   | live: shop/green release 5", Tone::Output)
    );
    let dropped = log_line(&LogLine::Dropped(12));
    assert_eq!(
        (dropped.text.as_str(), dropped.tone),
        ("   | (12 more lines were not kept)", Tone::Output)
    );
    let raw = "live: said in distress";
    assert_eq!(
        log_line(&LogLine::Said(raw.into())),
        Shown {
            text: raw.into(),
            tone: Tone::Plain
        }
    );
    assert!(
        log_line(&LogLine::Newer(2))
            .text
            .contains("a newer deployer wrote")
    );
}

proptest! {
    /// Whatever the texts are, what is written is read and shown in its order, a line each.
    #[test]
    fn what_is_written_is_shown_in_its_order(lines in prop::collection::vec((0..3u8, any::<String>()), 0..20)) {
        let folder = tempfile::tempdir().unwrap();
        let release = crate::store::Store::new(folder.path()).release(&"shop".parse().unwrap(), ReleaseId(1));
        std::fs::create_dir_all(release.path()).unwrap();
        let mut log = crate::release::log::Log::open(&release).unwrap();
        let mut expected = Vec::new();
        for (kind, text) in lines {
            match kind {
                0 => log.output(&text),
                1 => log.note(text.clone()),
                _ => log.event(&Event::Undone { step: Step::Flip, what: text.clone() }),
            }
            expected.push(match kind {
                0 => format!("   | {text}"),
                1 => format!(" note: {text}"),
                _ => format!(" flip               taken back: {text}"),
            });
        }
        let mut reader = crate::release::log::LogReader::new(&release);
        let mut seen = Vec::new();
        while let Some(lines) = reader.lines().unwrap() {
            seen.extend(lines.iter().map(|line| log_line(line).text));
        }
        prop_assert_eq!(seen, expected);
    }
}
