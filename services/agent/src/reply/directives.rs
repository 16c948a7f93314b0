//! Reply tags and attachments in a model's words.

/// The longest `MEDIA:` reference, in bytes.
const MEDIA_BYTES_MAX: usize = 4_096;

/// A message without what was in it for us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) text: String,
    pub(crate) reply_to_id: Option<String>,
    pub(crate) reply_to_current: bool,
    pub(crate) audio_as_voice: bool,
    pub(crate) media: Vec<String>,
}

/// Takes tags and attachments out of a message.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let text = tags(text, &mut parsed);
    parsed.text = media(&text, &mut parsed.media);
    parsed
}

/// Takes `[[…]]` tags out; of several that say whom to answer, the first counts.
fn tags(text: &str, parsed: &mut Parsed) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find("[[") {
        let Some(length) = rest[start..].find("]]") else { break };
        let (inner, after) = (rest[start + 2..start + length].trim(), &rest[start + length + 2..]);
        kept.push_str(&rest[..start]);
        if known(inner, parsed) {
            // One space stands where the tag was, unless there is one already.
            rest = if kept.is_empty() || kept.ends_with(char::is_whitespace) { after.trim_start_matches(' ') } else { after };
        } else {
            kept.push_str("[[");
            rest = &rest[start + 2..];
        }
    }
    kept.push_str(rest);
    kept
}

fn known(inner: &str, parsed: &mut Parsed) -> bool {
    let answered = parsed.reply_to_current || parsed.reply_to_id.is_some();
    let lower = inner.to_lowercase();
    match lower.as_str() {
        "reply_to_current" => parsed.reply_to_current |= !answered,
        "audio_as_voice" => parsed.audio_as_voice = true,
        _ => {
            let Some(id) = lower.strip_prefix("reply_to").map(str::trim_start).and_then(|rest| rest.strip_prefix(':')) else {
                return false;
            };
            let id = inner[inner.len() - id.len()..].trim();
            if id.is_empty() {
                return false;
            }
            if !answered {
                parsed.reply_to_id = Some(id.to_owned());
            }
        }
    }
    true
}

/// Takes `MEDIA:` lines out, except those in code.
fn media(text: &str, found: &mut Vec<String>) -> String {
    let (mut lines, mut fence) = (Vec::new(), None::<char>);
    for line in text.lines() {
        let trimmed = line.trim_start();
        let marker = ['`', '~'].into_iter().find(|marker| trimmed.starts_with(&marker.to_string().repeat(3)));
        match (fence, marker) {
            (None, Some(marker)) => fence = Some(marker),
            (Some(open), Some(marker)) if open == marker => fence = None,
            _ => {}
        }
        match reference(trimmed).filter(|_| fence.is_none() && marker.is_none()) {
            Some(reference) => found.push(reference),
            None => lines.push(line),
        }
    }
    lines.join("\n").trim().to_owned()
}

/// Returns what a `MEDIA:` line refers to: an address on the web, or a file below the workspace.
fn reference(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("MEDIA:")?.trim();
    let bare = rest.trim_matches(['`', '"', '\'']).trim();
    let web = bare.starts_with("https://") || bare.starts_with("http://");
    let file = bare.starts_with("./") && !bare.split('/').any(|part| part == "..");
    ((web && !bare.contains(char::is_whitespace) || file) && bare.len() <= MEDIA_BYTES_MAX).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_tags_and_attachments_out() {
        let says = |text: &str| Parsed { text: text.to_owned(), ..Parsed::default() };
        let media = |text: &str, media: &str| Parsed { media: vec![media.to_owned()], ..says(text) };
        for (text, expected) in [
            ("[[ reply_to: 55 ]]hi", Parsed { reply_to_id: Some("55".to_owned()), ..says("hi") }),
            ("hi [[reply_to_current]] there", Parsed { reply_to_current: true, ..says("hi there") }),
            ("[[audio_as_voice]]x", Parsed { audio_as_voice: true, ..says("x") }),
            ("text\nMEDIA: https://x.y/a.png\nmore", media("text\nmore", "https://x.y/a.png")),
            ("MEDIA:`./a b.png`", media("", "./a b.png")),
            ("MEDIA:/abs/a.ogg", says("MEDIA:/abs/a.ogg")),
            ("MEDIA:./../a.ogg", says("MEDIA:./../a.ogg")),
            ("see MEDIA:foo inline", says("see MEDIA:foo inline")),
            ("```\nMEDIA:./a.png\n```", says("```\nMEDIA:./a.png\n```")),
            ("a [[wiki link]] [[ b", says("a [[wiki link]] [[ b")),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
