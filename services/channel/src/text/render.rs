//! Formatted text in the words of each network.

#[cfg(test)]
mod tests;

use super::{Rich, Style};

/// Returns the text without any format.
pub(crate) fn plain(rich: &Rich) -> String {
    rich.iter().map(|run| run.text.as_str()).collect()
}

/// Returns the HTML that the Bot API takes.
pub(crate) fn telegram_html(rich: &Rich) -> String {
    let mut html = String::new();
    let mut open: Vec<&Style> = Vec::new();
    for run in rich {
        let shared = open.iter().zip(&run.styles).take_while(|(open, wanted)| **open == *wanted).count();
        for style in open.drain(shared..).rev() {
            html.push_str(closing(style));
        }
        for style in run.styles.iter().skip(shared) {
            html.push_str(&opening(style));
            open.push(style);
        }
        html.push_str(&escaped(&run.text));
    }
    for style in open.into_iter().rev() {
        html.push_str(closing(style));
    }
    html
}

/// Returns the text with the control codes that IRC clients know for bold and italic.
pub(crate) fn irc(rich: &Rich) -> String {
    let mut text = String::new();
    for run in rich {
        let codes: String = run
            .styles
            .iter()
            .filter_map(|style| match style {
                Style::Bold => Some('\u{2}'),
                Style::Italic => Some('\u{1d}'),
                Style::Strike => Some('\u{1e}'),
                Style::Code | Style::Block => Some('\u{11}'),
                Style::Link(_) => None,
            })
            .collect();
        let target = run.styles.iter().find_map(|style| if let Style::Link(url) = style { Some(url) } else { None });
        // A format ends with its line.
        let lines: Vec<String> =
            run.text.split('\n').map(|line| if line.is_empty() { String::new() } else { format!("{codes}{line}{codes}") }).collect();
        text.push_str(&lines.join("\n"));
        if let Some(target) = target.filter(|target| **target != run.text) {
            text.extend([" (", target, ")"]);
        }
    }
    text
}

fn opening(style: &Style) -> String {
    match style {
        Style::Bold => "<b>".to_owned(),
        Style::Italic => "<i>".to_owned(),
        Style::Strike => "<s>".to_owned(),
        Style::Code => "<code>".to_owned(),
        Style::Block => "<pre><code>".to_owned(),
        Style::Link(url) => format!("<a href=\"{}\">", escaped(url).replace('"', "&quot;")),
    }
}

fn closing(style: &Style) -> &'static str {
    match style {
        Style::Bold => "</b>",
        Style::Italic => "</i>",
        Style::Strike => "</s>",
        Style::Code => "</code>",
        Style::Block => "</code></pre>",
        Style::Link(_) => "</a>",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
