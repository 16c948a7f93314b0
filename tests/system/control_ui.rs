//! The way into the browser client, and what it weighs.

use base64::Engine as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use verso_tests::gateway::TOKEN;
use verso_tests::provider::reply;
use verso_tests::{Browser, ControlUi, Gateway, Provider, eventually, peers};

/// Everything that a first visit fetches, in bytes.
const TRANSFER_BYTES_MAX: u64 = 200_000;

/// What a request's head may have at most, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Puts a proxy before a gateway that says of each WebSocket that it comes from far away, and returns its port.
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
pub(crate) async fn from_afar(gateway: &Gateway) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (port, upstream) = (listener.local_addr().expect("an address").port(), gateway.port());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
                    head.push(client.read_u8().await.ok()?);
                }
                if String::from_utf8_lossy(&head).to_lowercase().contains("upgrade: websocket") {
                    head.truncate(head.len() - 2);
                    head.extend_from_slice(b"X-Forwarded-For: 203.0.113.9\r\n\r\n");
                }
                let mut server = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?;
                server.write_all(&head).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    port
}

#[tokio::test]
async fn somebody_connects_and_talks_to_an_agent_in_a_browser() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let Some(browser) = Browser::start().await else { return };
    let page = ControlUi { browser };
    page.browser.open(&gateway.http("/chat")).await;
    page.browser.find("#login").await;
    page.browser.screenshot("control-ui-login").await;
    page.browser.find("#token").await.send_keys("not the token").await.expect("a field");
    page.click("#login button").await;
    page.shows("#problem", "not this gateway's token").await;
    page.log_in().await;
    page.send("hi [[tokens=3]]").await;
    page.answered(&reply(3)).await;
    assert_eq!(page.said("user").await, ["hi [[tokens=3]]"], "what was sent stands there once");
    page.browser.screenshot("control-ui-chat").await;
    // Loaded again, it is let in by what the gateway gave this device; the token is nowhere in what the browser keeps.
    page.browser.open(&gateway.http("/")).await;
    page.inside().await;
    page.answered(&reply(3)).await;
    page.click("#leave").await;
    page.click("dialog button[value=yes]").await;
    page.browser.find("#login").await;
    page.browser.open(&gateway.http("/")).await;
    page.browser.find("#token").await;
}

#[tokio::test]
async fn a_new_browser_from_afar_waits_until_it_is_approved_and_goes_on_by_itself() {
    let gateway = Gateway::start().await;
    let port = from_afar(&gateway).await;
    let Some(browser) = Browser::start().await else { return };
    let page = ControlUi { browser };
    page.browser.open(&format!("http://127.0.0.1:{port}/#token={TOKEN}")).await;
    page.browser.find("#pairing").await;
    let command =
        "const command = document.querySelector('#pair-command')?.textContent; return /approve \\S+/.test(command ?? '') && command";
    let command = page.browser.until("the command that approves", command).await;
    let command = command.as_str().expect("words").to_owned();
    page.is_accessible("pairing").await;
    page.browser.screenshot("control-ui-pairing").await;
    let words: Vec<String> = command.split(' ').skip(1).map(str::to_owned).collect();
    let mut approving = gateway.command();
    approving.args(&words);
    let output = tokio::task::spawn_blocking(move || approving.output().expect("the CLI runs")).await.expect("no panic");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    page.inside().await;
}

#[tokio::test]
async fn a_browser_without_ed25519_of_its_own_proves_itself_with_ours() {
    let gateway = Gateway::start().await;
    let Some(browser) = Browser::start().await else { return };
    browser.open(&gateway.http("/")).await;
    // The specification's test vector, and then a gateway that checks.
    let vector = "const { publicKey, sha256, sign } = await import('/assets/gateway/ed25519.js'); \
                  const seed = Uint8Array.from({ length: 32 }, (_, place) => place + 1); const key = publicKey(seed); \
                  const id = [...sha256(key)].map((byte) => byte.toString(16).padStart(2, '0')).join(''); \
                  const words = `v3|${id}|cli|cli|operator|operator.read|1700000000000|tok|nonce-1|linux|linux`; \
                  return [id, btoa(String.fromCharCode(...sign(seed, new TextEncoder().encode(words))))]";
    let signed = browser.run(&format!("return (async () => {{ {vector} }})()")).await;
    let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode("Be5BJltD7cx065YCgbtuEMpPl0bN51Y5QH_DwNccX-NtFNfWDb6rLu2aEBmUTBmlj6sJ-pfrP2axy3xhFo7pCA")
        .expect("base64");
    let expected = base64::engine::general_purpose::STANDARD.encode(decoded);
    assert_eq!(signed, json!(["65b60673d6ed884bf01c2c222d82ada0740f29ac3355d6a925c81f17f47a27b8", expected]));
    let hello = format!(
        "Object.defineProperty(crypto, 'subtle', {{ value: undefined }}); \
         const {{ CLIENT, prove }} = await import('/assets/gateway/device.js?without'); \
         const socket = new WebSocket(`ws://${{location.host}}/`); \
         return await new Promise((resolve) => {{ socket.onclose = ({{ reason }}) => resolve(reason); socket.onmessage = async ({{ data }}) => {{ \
           const frame = JSON.parse(data); \
           if (frame.type === 'res') return resolve(frame.ok ? frame.payload.auth.scopes : frame.error); \
           if (frame.event !== 'connect.challenge') return; \
           const params = {{ minProtocol: 4, maxProtocol: 4, client: CLIENT, role: 'operator', scopes: ['operator.admin'], auth: {{ token: {TOKEN:?} }} }}; \
           socket.send(JSON.stringify({{ type: 'req', id: '1', method: 'connect', params: {{ ...params, device: await prove(params, frame.payload) }} }})); \
         }} }})"
    );
    assert_eq!(browser.run(&format!("return (async () => {{ {hello} }})()")).await, json!(["operator.admin"]));
}

#[tokio::test]
async fn a_first_visit_is_light() {
    let gateway = Gateway::start().await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    for name in verso_tests::control_ui::PAGES {
        page.go(name).await;
    }
    let sizes = "return performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).map(({ transferSize }) => transferSize)";
    let sizes = page.browser.run(sizes).await;
    let bytes: u64 = sizes.as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).sum();
    assert!((10_000..TRANSFER_BYTES_MAX).contains(&bytes), "all pages together transfer {bytes} bytes");
}

#[tokio::test]
async fn the_connection_that_is_lost_comes_back_without_a_reload() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.browser.run("window.__same = true").await;
    // Noticed at the moment that it happens, however short it is.
    page.browser.run("new MutationObserver(() => { if (document.querySelector('#lost')) window.__lost = true }).observe(document.body, { childList: true, subtree: true })").await;
    gateway.kill("edge").await;
    page.browser.until("the loss to be told", "return window.__lost ?? false").await;
    for number in 1..=3 {
        page.send(&format!("number {number} [[tokens={number}]]")).await;
    }
    page.inside().await;
    let client = gateway.client().await;
    // What comes while a run goes on is answered together: the words count, not the messages.
    let said = eventually("all three", async || {
        let history = client.call("chat.history", json!({"sessionKey": "agent:main:main"})).await.ok()?;
        let said: String = history["messages"].as_array()?.iter().filter(|one| one["role"] == "user").map(ToString::to_string).collect();
        said.contains("number 3 ").then_some(said)
    })
    .await;
    for number in 1..=3 {
        assert_eq!(said.matches(&format!("number {number} ")).count(), 1, "each once: {said}");
    }
    page.browser
        .until(
            "nothing on its way",
            "return !document.querySelector('#messages .waiting, #messages .sending, #messages .accepted, #messages .live')",
        )
        .await;
    let shown = page.said("user").await.concat();
    for number in 1..=3 {
        assert_eq!(shown.matches(&format!("number {number} ")).count(), 1, "each is shown once: {shown}");
    }
    assert_eq!(page.browser.run("return window.__same").await, json!(true), "the page was not loaded again");
}

#[tokio::test]
async fn its_types_hold() {
    let Some(compiler) = peers::npm_file("typescript/bin/tsc") else { return };
    let Some(node) = peers::program("node") else { return };
    let project = verso_tests::package().parent().expect("the workspace").join("edge/control-ui/jsconfig.json");
    let mut checking = std::process::Command::new(node);
    checking.arg(compiler).arg("-p").arg(project);
    let checked = tokio::task::spawn_blocking(move || checking.output().expect("the compiler runs")).await.expect("no panic");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
