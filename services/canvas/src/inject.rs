//! What every HTML page gets: the way to the app around it, and the socket on which it learns of changes.

/// Defines what pages of agents rely on.
const BRIDGE: &str = include_str!("inject/bridge.js");

/// Loads the page again when its files change.
const RELOAD: &str = include_str!("inject/reload.js");

const END_OF_BODY: &[u8] = b"</body>";

/// Puts the scripts before the last end of the body, or at the end.
pub(crate) fn into_html(html: &[u8], live_reload: bool) -> Vec<u8> {
    let place = html.windows(END_OF_BODY.len()).rposition(|window| window.eq_ignore_ascii_case(END_OF_BODY)).unwrap_or(html.len());
    let reload = if live_reload { RELOAD } else { "" };
    let mut whole = Vec::with_capacity(html.len() + BRIDGE.len() + reload.len() + 64);
    whole.extend_from_slice(&html[..place]);
    for script in ["<script>\n", BRIDGE, reload, "</script>\n"] {
        whole.extend_from_slice(script.as_bytes());
    }
    whole.extend_from_slice(&html[place..]);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_come_before_the_last_end_of_the_body() {
        let injected = |html: &str, live| String::from_utf8(into_html(html.as_bytes(), live)).unwrap();
        let page = injected("<body><pre></BODY></pre>é</BODY></html>", true);
        assert!(page.starts_with("<body><pre></BODY></pre>é<script>") && page.ends_with("</script>\n</BODY></html>"), "{page}");
        assert!(injected("<p>only", true).starts_with("<p>only<script>"));
        assert!(!injected("<p>", false).contains("WebSocket") && injected("<p>", false).contains("sendUserAction"));
        for script in [BRIDGE, RELOAD] {
            assert!(!script.contains("</script"), "it would end itself");
        }
    }
}
