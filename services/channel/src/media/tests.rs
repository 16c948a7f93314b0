use super::*;

/// The head of a picture in the PNG format: all that is needed to tell what it is.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    bytes.extend_from_slice(&width.to_be_bytes());
    bytes.extend_from_slice(&height.to_be_bytes());
    bytes.extend_from_slice(&[8, 6, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn a_file_is_what_it_holds_and_not_what_it_is_called() {
    let picture = look(&png(2, 2), Some("text/html"), Some("../../etc/pass wd")).unwrap();
    let expected = Looked { kind: MediaKind::Image, mime_type: "image/png".into(), file_name: "pass wd.png".into() };
    assert_eq!(picture, expected);
    let text = look(b"plain words", Some("image/png"), Some("a.png")).unwrap();
    assert_eq!((text.kind, text.mime_type.as_str()), (MediaKind::Document, "application/octet-stream"));
    let text = look(b"plain words", Some("text/plain; charset=utf-8"), None).unwrap();
    assert_eq!((text.kind, text.mime_type.as_str(), text.file_name.as_str()), (MediaKind::Document, "text/plain", "file.bin"));
    assert!(matches!(look(b"", None, None), Err(Unusable::Empty)));
}

#[test]
fn sec_31_what_is_too_large_is_refused_before_it_is_decoded() {
    // Not base64 at all: a decoder would complain about that instead.
    let large = "!".repeat(4 * 1_000);
    assert!(matches!(decode(&large, 1_000), Err(Unusable::TooLarge(1_000))));
    assert!(matches!(decode("!!!!", 1_000), Err(Unusable::Base64)));
    assert_eq!(decode("data:text/plain;base64,aGk=", 2).unwrap(), (b"hi".to_vec(), Some("text/plain".to_owned())));
    assert!(matches!(decode("aGkh", 2), Err(Unusable::TooLarge(2))));
    assert!(matches!(look(&png(100_000, 100_000), None, None), Err(Unusable::TooManyPixels)));
}

#[tokio::test]
async fn sec_53_only_names_that_were_made_here_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    let shelf = Shelf::open(folder.path().join("media")).await.unwrap();
    let file = shelf.put(Way::Out, "a", b"bytes".to_vec()).await.unwrap();
    assert_eq!(shelf.get(Way::Out, &file).await.unwrap(), b"bytes");
    assert_eq!(shelf.find(Way::Out, "a").await.unwrap(), b"bytes");
    for name in ["../../secret", "/etc/passwd", "", ".", &format!("../outbound/{file}")] {
        assert!(matches!(shelf.get(Way::Out, name).await, Err(Unusable::Unknown)), "{name}");
    }
    let link = "a".repeat(64);
    std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("media/inbound").join(&link)).unwrap();
    assert!(shelf.get(Way::In, &link).await.is_err(), "a link is not followed");
}

#[tokio::test]
async fn files_are_kept_for_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(folder.path().to_owned()).await.unwrap();
    let file = shelf.put(Way::In, "a", b"bytes".to_vec()).await.unwrap();
    let written = folder.path().join("inbound").join(&file).metadata().unwrap().modified().unwrap();
    let kept = Duration::from_mins(1);
    assert_eq!(shelf.sweep(written + Duration::from_secs(59), kept).await.unwrap(), 0);
    assert_eq!(shelf.sweep(written + Duration::from_secs(61), kept).await.unwrap(), 1);
    assert!(shelf.find(Way::In, "a").await.is_none());
}
