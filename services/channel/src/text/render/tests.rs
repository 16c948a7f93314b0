use super::*;
use crate::text::parse;

#[test]
fn markdown_becomes_the_html_that_the_bot_api_takes() {
    for (markdown, html) in [
        ("**b** _i_ ~~s~~ `c`", "<b>b</b> <i>i</i> <s>s</s> <code>c</code>"),
        ("***bi***", "<i><b>bi</b></i>"),
        ("# H\ntext", "H\n\ntext"),
        ("- a\n- b\n  - c", "• a\n• b\n  • c"),
        ("1. x\n2. y", "1. x\n2. y"),
        ("[t](https://x.y?a=1&b=2)", "<a href=\"https://x.y?a=1&amp;b=2\">t</a>"),
        ("see https://x.y.", "see <a href=\"https://x.y\">https://x.y</a>."),
        ("```rust\nlet a=1<2;\n```", "<pre><code>let a=1&lt;2;\n</code></pre>"),
        ("> q", "q"),
        ("![alt](u)", "alt"),
        ("---", ""),
        ("||s||", "||s||"),
        (
            "| a | bb |\n|---|---|\n| 1 | 2 |\n| 333 | 4 |",
            "<pre><code>| a   | bb |\n| --- | -- |\n| 1   | 2  |\n| 333 | 4  |\n</code></pre>",
        ),
        ("a <b>x</b> & c", "a &lt;b&gt;x&lt;/b&gt; &amp; c"),
        ("a\n\n\nb", "a\n\nb"),
        ("[x](javascript:\"a\")", "<a href=\"javascript:&quot;a&quot;\">x</a>"),
    ] {
        assert_eq!(telegram_html(&parse(markdown)), html, "{markdown}");
    }
}

#[test]
fn irc_formats_end_with_their_line() {
    assert_eq!(irc(&parse("**a\nb** [t](https://x.y)")), "\u{2}a\u{2}\n\u{2}b\u{2} t (https://x.y)");
}
