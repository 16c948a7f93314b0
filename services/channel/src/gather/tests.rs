use super::*;
use crate::message::{Attached, ChatKind, MediaKind};

const DEBOUNCE: Duration = Duration::from_secs(2);

fn open(seq: i64, lead: Option<&str>) -> Open {
    Open {
        seq,
        event: format!("e{seq}"),
        chat: "1".into(),
        message: String::new(),
        received_at_ms: seq,
        lead: lead.map(str::to_owned),
        preview: None,
    }
}

fn said(seq: i64, text: &str) -> Incoming {
    let message_id = Some(seq.to_string());
    Incoming { message_id, ..Incoming::new(format!("e{seq}"), EventKind::Message, (ChatKind::Direct, "1".into()), "7".into(), text.into()) }
}

fn begin(incoming: Incoming, lead: Option<&str>, debounce: Duration) -> Batch {
    Batch::new(open(1, lead), incoming, true, debounce)
}

#[test]
fn lines_wait_for_lines_and_a_command_for_nothing() {
    assert_eq!(begin(said(1, "hi"), None, Duration::ZERO).wait(Duration::ZERO), None);
    assert_eq!(begin(said(1, "/stop"), None, DEBOUNCE).wait(DEBOUNCE), None);
    let mut batch = begin(said(1, "one"), None, DEBOUNCE);
    assert_eq!(batch.wait(DEBOUNCE), Some(DEBOUNCE));
    batch.join(open(2, None), said(2, "two"), true).unwrap();
    assert!(batch.join(open(3, None), said(3, "/stop"), true).is_err());
    assert!(batch.join(open(3, None), Incoming { sender: "8".into(), ..said(3, "x") }, true).is_err());
    assert!(batch.join(open(3, None), said(3, "x"), false).is_err(), "authority is not shared");
    assert_eq!((batch.incoming.text.as_str(), batch.name(), batch.seqs()), ("one\ntwo", "e2", vec![1, 2]));
}

#[test]
fn an_album_is_one_message() {
    let picture = |seq: i64, text: &str| {
        let media = Attached { kind: MediaKind::Image, reference: seq.to_string(), mime_type: None, file_name: None, bytes: None };
        Incoming { album: Some("g".into()), media: vec![media], ..said(seq, text) }
    };
    let mut batch = begin(picture(1, "see"), None, Duration::ZERO);
    assert_eq!(batch.wait(Duration::ZERO), Some(ALBUM_WAIT));
    batch.join(open(2, None), picture(2, "<media:image>"), true).unwrap();
    assert!(batch.join(open(3, None), Incoming { album: Some("other".into()), ..picture(3, "x") }, true).is_err());
    assert_eq!((batch.incoming.media.len(), batch.incoming.text.as_str()), (2, "see\n<media:image>"));
}

#[test]
fn a_text_that_was_cut_is_whole_again() {
    let piece = |seq, may_go_on| Incoming { may_go_on, ..said(seq, &"x".repeat(4_096)) };
    let mut batch = begin(piece(1, true), None, Duration::ZERO);
    assert!(batch.join(open(3, None), piece(3, true), true).is_err(), "a piece is missing");
    batch.join(open(2, None), piece(2, true), true).unwrap();
    batch.join(open(3, None), Incoming { may_go_on: false, ..said(3, "end") }, true).unwrap();
    assert_eq!((batch.incoming.text.len(), batch.wait(Duration::ZERO)), (2 * 4_096 + 3, None));
}

#[test]
fn what_was_told_together_is_told_together_again() {
    let mut batch = begin(said(1, "one"), Some("e2"), Duration::ZERO);
    assert!(batch.wait(Duration::ZERO).is_some());
    assert!(batch.join(open(9, None), said(9, "x"), true).is_err());
    batch.join(open(2, Some("e2")), said(2, "two"), true).unwrap();
    assert_eq!((batch.wait(Duration::ZERO), batch.name(), batch.incoming.text.as_str()), (None, "e2", "one\ntwo"));
}
