//! Conversations in the browser client: streamed, stopped, interrupted, and very long ones.

use std::fmt::Write as _;

use serde_json::json;
use verso_tests::provider::{calling, reply};
use verso_tests::{ControlUi, Gateway, Provider, eventually};

/// Entries of the long conversation.
const ENTRIES: usize = 10_000;

/// Entries that may be in the document at once, however many are known.
const IN_DOCUMENT_MAX: u64 = 600;

/// The longest that the page may stand still while somebody scrolls, in milliseconds. Test machines are busy.
const STANDSTILL_MS_MAX: f64 = 2_000.0;

#[tokio::test]
async fn an_answer_grows_as_it_is_written_and_can_be_stopped() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.send("count [[tokens=400 gap=50]]").await;
    let growing =
        "const words = document.querySelector('#messages .live .words')?.textContent ?? ''; return words.includes('word3') && words.length";
    let before = page.browser.until("the first words", growing).await.as_u64().expect("a length");
    page.browser
        .until("more words", &format!("return document.querySelector('#messages .live .words')?.textContent.length > {before}"))
        .await;
    page.browser.screenshot("control-ui-streaming").await;
    page.click("#stop").await;
    page.shows("#messages li[data-role=note]", "Stopped").await;
    page.browser
        .until("nothing to stop", "return document.querySelector('#stop').hidden && !document.querySelector('#messages .live')")
        .await;
    page.click("#messages li[data-role=note] button").await;
    page.browser.until("it is asked again", "return [...document.querySelectorAll('#messages li[data-role=user]')].length >= 2").await;
    eventually("the model to be asked again", async || (provider.calls().len() >= 2).then_some(())).await;
}

#[tokio::test]
async fn what_tools_did_and_what_was_attached_stands_in_the_conversation() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.send(&calling("read", &json!({"path": "missing.md"}))).await;
    page.shows("#messages details.tool", "missing.md").await;
    page.browser
        .until(
            "the call to end",
            "return document.querySelector('details.tool.failed, details.tool.done') !== null && !document.querySelector('.live')",
        )
        .await;
    page.click("details.tool summary").await;
    page.shows("details.tool[open] pre", "missing.md").await;
    page.browser.screenshot("control-ui-tool").await;
    let paste = "const picture = Uint8Array.from(atob('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='), (letter) => letter.charCodeAt(0)); \
                 const data = new DataTransfer(); data.items.add(new File([picture], 'dot.png', { type: 'image/png' })); \
                 data.items.add(new File(['some notes'], 'notes.txt', { type: 'text/plain' })); \
                 document.querySelector('#message').dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }))";
    page.browser.run(paste).await;
    page.shows(".chips", "notes.txt").await;
    page.send("look [[tokens=2]]").await;
    page.answered(&reply(2)).await;
    let asked = provider.calls().last().expect("a call").body.to_string();
    assert!(asked.contains("some notes") && asked.contains("iVBORw0KGgo"), "the model is given both");
    page.browser.open(&gateway.http("/")).await;
    page.inside().await;
    page.answered(&reply(2)).await;
    page.browser.run("[...document.querySelectorAll('#messages button')].find((one) => one.textContent.includes('picture')).click()").await;
    page.browser.until("the picture", "return document.querySelector('#messages img.picture')?.naturalWidth === 1").await;
}

/// Markdown and what it is to be, without what every link and block of code has.
const MARKDOWN: [(&str, &str); 14] = [
    ("a *b* **c** `d` ~~e~~", "<p>a <em>b</em> <strong>c</strong> <code>d</code> <s>e</s></p>"),
    ("***both*** and snake_case_name, 2 * 3 * 4", "<p><strong><em>both</em></strong> and snake_case_name, 2 * 3 * 4</p>"),
    ("# One\ntext\nmore", "<p>One</p><p>text<br>more</p>"),
    ("- a\n- b\n  - c\n\n1. x\n2. y", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><ol><li>x</li><li>y</li></ol>"),
    ("> q\n> r", "<blockquote><p>q<br>r</p></blockquote>"),
    ("```js\nlet a = `1`;\n\n**b**\n```\nend", "<pre><code>let a = `1`;\n\n**b**</code></pre><p>end</p>"),
    ("```\nnot closed", "<pre><code>not closed</code></pre>"),
    (
        "| a | b |\n|---|--:|\n| 1 | 2 |",
        "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
    ),
    ("[y](https://a.example/(b)) https://d.example/e.", "<p><a>y</a> <a>https://d.example/e</a>.</p>"),
    ("[x](javascript:alert(1)) [y](data:text/html,z) [z](JAVASCRIPT:1)", "<p>x y z</p>"),
    ("![i](https://e.example/i.png)", "<p><a>i</a></p>"),
    ("<b onclick=x>html</b> &lt;", "<p>&lt;b onclick=x&gt;html&lt;/b&gt; &amp;lt;</p>"),
    ("unclosed **bold and `code", "<p>unclosed **bold and `code</p>"),
    ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
];

#[tokio::test]
async fn markdown_becomes_nodes_and_grows_without_being_drawn_anew() {
    let gateway = Gateway::start().await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    let samples: Vec<&str> = MARKDOWN.iter().map(|(markdown, _)| *markdown).collect();
    // Each is written letter by letter, as an answer is.
    let script = format!(
        "const {{ render }} = await import('/assets/chat/markdown.js'); \
         return {}.map((text) => {{ const at = document.createElement('div'); for (let end = 1; end <= text.length; end++) render(at, text.slice(0, end)); \
           for (const one of at.querySelectorAll('figcaption')) one.remove(); \
           return at.innerHTML.replace(/<\\/?(figure|div)[^>]*>/g, '').replace(/<(\\w+) [^>]*>/g, '<$1>'); }})",
        serde_json::Value::from(samples)
    );
    let drawn = page.browser.run(&format!("return (async () => {{ {script} }})()")).await;
    for (place, (markdown, expected)) in MARKDOWN.into_iter().enumerate() {
        assert_eq!(drawn[place], json!(expected), "{markdown:?}");
    }
    let kept = "const { render } = await import('/assets/chat/markdown.js'); const at = document.createElement('div'); render(at, 'one\\n\\ntwo'); \
                const first = at.firstChild; render(at, 'one\\n\\ntwo and more'); return [at.firstChild === first, at.textContent]";
    assert_eq!(page.browser.run(&format!("return (async () => {{ {kept} }})()")).await, json!([true, "onetwo and more"]));
}

#[tokio::test]
async fn an_answer_goes_on_when_the_agent_service_is_killed_in_the_middle() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.browser.run("window.__same = true; new MutationObserver(() => { if (document.querySelector('#down')) window.__told = document.querySelector('#down').textContent }).observe(document.querySelector('#top'), { childList: true, subtree: true })").await;
    page.send("count [[tokens=60 gap=40]]").await;
    page.browser.until("the first words", "return document.querySelector('#messages .live .words')?.textContent.includes('word3')").await;
    let pid = gateway.kill("agent").await;
    gateway.recovered("agent", pid).await;
    page.answered(&reply(60)).await;
    assert_eq!(page.said("user").await.len(), 1, "what was asked stands there once");
    page.send("and then? [[tokens=2]]").await;
    page.answered(&reply(2)).await;
    assert_eq!(page.browser.run("return window.__same").await, json!(true), "the page was not loaded again");
}

#[tokio::test]
async fn a_service_that_is_away_is_told_and_the_rest_goes_on() {
    let gateway = Gateway::start().await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    let owner = gateway.client().await;
    owner.call("services.drain", json!({"name": "agent"})).await.expect("a stop");
    owner.call("health", json!({"probe": true})).await.expect("a summary");
    page.shows("#down", "agent").await;
    page.shows(".talk-head", "away").await;
    page.browser.screenshot("control-ui-degraded").await;
    page.go("overview").await;
    page.browser.until("its state", "return document.querySelector('[data-service=agent]')?.dataset.state === 'stopped'").await;
    page.go("cron").await;
    page.browser.until("the page greyed", "return document.querySelector('verso-cron').classList.contains('stale')").await;
    page.shows("verso-cron .note", "agent").await;
    page.go("devices").await;
    page.shows("verso-devices td", "Control UI").await;
    page.go("overview").await;
    page.click("[data-service=agent] button").await;
    page.browser
        .until(
            "it serves again",
            "return document.querySelector('[data-service=agent]')?.dataset.state === 'serving' && !document.querySelector('#down')",
        )
        .await;
    page.go("chat").await;
    page.send("hello").await;
    page.shows("#messages li[data-role=assistant]", "No language model").await;
}

#[tokio::test]
async fn conversations_are_begun_named_found_and_given_another_model() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    let models = config["models"]["providers"]["scripted"]["models"].as_array_mut().expect("models");
    models.push(json!({"id": "model-2", "name": "Model 2", "reasoning": true}));
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    for (key, label) in [("agent:main:one", "About apples"), ("agent:main:two", "About pears")] {
        client.call("sessions.patch", json!({"key": key, "label": label})).await.expect("a label");
    }
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.shows(".sessions .name", "About pears").await;
    page.browser.find("#session-search").await.send_keys("apples").await.expect("a field");
    page.browser
        .until(
            "the list is shorter",
            "return ![...document.querySelectorAll('.sessions .name')].some((name) => name.textContent.includes('pears'))",
        )
        .await;
    page.click("[data-session='agent:main:one']").await;
    page.shows(".talk-head h1", "About apples").await;
    let choose = |list: &str, value: &str| {
        format!(
            "const list = document.querySelector({list:?}); if (![...list?.options ?? []].some((one) => one.value === {value:?})) return false; \
             list.value = {value:?}; list.dispatchEvent(new Event('change')); return true"
        )
    };
    page.browser.until("the other model", &choose("#model", "scripted/model-2")).await;
    page.browser
        .until(
            "it is chosen",
            "return document.querySelector('#model').value === 'scripted/model-2' && document.querySelector('#thinking') !== null",
        )
        .await;
    page.browser.until("thinking", &choose("#thinking", "low")).await;
    page.send("hi [[tokens=2]]").await;
    page.answered(&reply(2)).await;
    assert_eq!(provider.calls().last().expect("a call").body["model"], "model-2");
    let described = client.call("sessions.describe", json!({"key": "agent:main:one"})).await.expect("a session");
    assert_eq!((&described["session"]["model"], &described["session"]["thinkingLevel"]), (&json!("model-2"), &json!("low")));
    page.click(".sessions .current .deeds button").await;
    page.browser.find("#session-name").await.clear().await.expect("a field");
    page.browser.find("#session-name").await.send_keys("About plums\u{e007}").await.expect("a field");
    page.shows(".talk-head h1", "About plums").await;
}

/// A conversation of another gateway, whose file is easily written.
fn long_conversation(folder: &std::path::Path) {
    let sessions = folder.join("agents/main/sessions");
    std::fs::create_dir_all(&sessions).expect("a folder");
    let list = json!({"agent:main:long": {"sessionId": "long", "updatedAt": 1_790_000_000_000_i64}});
    std::fs::write(sessions.join("sessions.json"), list.to_string()).expect("a list");
    let mut lines = String::new();
    for number in 0..ENTRIES {
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        let before = number.checked_sub(1).map_or("null".to_owned(), |before| format!("\"{before:08x}\""));
        let text = format!("entry {number} with **some** words, and a list:\\n\\n- one\\n- two");
        let message = format!(r#"{{"role":"{role}","content":[{{"type":"text","text":"{text}"}}]}}"#);
        writeln!(lines, r#"{{"type":"message","id":"{number:08x}","parentId":{before},"message":{message}}}"#).expect("memory");
    }
    std::fs::write(sessions.join("long.jsonl"), lines).expect("a transcript");
}

#[tokio::test]
async fn ten_thousand_entries_are_scrolled_without_a_standstill() {
    let mut gateway = Gateway::prepare(json!({"agents": {"defaults": {"model": {"primary": "verso/offline"}}}}));
    let theirs = tempfile::tempdir().expect("a folder");
    long_conversation(theirs.path());
    let mut command = gateway.command();
    command.args(["migrate", "openclaw"]).arg(theirs.path());
    let taken = tokio::task::spawn_blocking(move || command.output().expect("the CLI runs")).await.expect("no panic");
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    gateway.launch(&[]);
    gateway.ready().await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.go("chat/agent%3Amain%3Along").await;
    page.shows("#messages li", &format!("entry {} ", ENTRIES - 1)).await;
    // Scrolls up as fast as the page allows, and measures the longest time between two pictures and the most entries in the document.
    page.browser
        .run(
            "const list = document.querySelector('#messages'); window.__worst = 0; window.__most = 0; let last = performance.now(); \
             (function next(now) { window.__worst = Math.max(window.__worst, now - last); last = now; \
               window.__most = Math.max(window.__most, list.querySelectorAll('li').length); \
               if (list.textContent.includes('entry 0 with')) { window.__done = true; return; } \
               list.scrollTop = 0; requestAnimationFrame(next); })(last)",
        )
        .await;
    let (mut height, mut done) = (0.0, false);
    while !done {
        let further = format!(
            "const list = document.querySelector('#messages'); \
             return (window.__done || list.scrollHeight > {height} * 1.2) && [window.__done ?? false, list.scrollHeight]"
        );
        let state = page.browser.until("older entries", &further).await;
        (done, height) = (state[0] == json!(true), state[1].as_f64().expect("a height"));
    }
    let measured = page.browser.run("return [window.__worst, window.__most]").await;
    let (worst, most) = (measured[0].as_f64().expect("a time"), measured[1].as_u64().expect("a count"));
    assert!(worst < STANDSTILL_MS_MAX && most < IN_DOCUMENT_MAX, "{worst} ms between two pictures, {most} entries in the document");
    page.browser.screenshot("control-ui-long").await;
    page.click(".jump").await;
    page.shows("#messages li", &format!("entry {} ", ENTRIES - 1)).await;
}
