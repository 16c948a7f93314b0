//! A headless Chromium, driven over `WebDriver`: a browser that nobody here wrote. It reaches nothing but this machine.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{PATIENCE, eventually, gateway, peers, process};

/// What Chromium is started with.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-proxy-server",
    "--window-size=1000,800",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
];

/// A browser with one window. It is ended, with all its processes, when it is dropped.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    /// Where the driver listens.
    url: String,
    _driver: Driver,
    /// The browser's profile and what it prints.
    _folder: TempDir,
}

/// The program that drives the browser, and the browser below it.
#[derive(Debug)]
struct Driver(Child);

impl Browser {
    /// Starts a browser; `None` when this test is to be skipped because there is none.
    pub async fn start() -> Option<Self> {
        let (chromium, program) = (peers::program("chromium")?, peers::program("chromedriver")?);
        let folder = tempfile::Builder::new().prefix("verso-browser-").tempdir().expect("a temporary folder");
        let mut command = Command::new(program);
        let printed = folder.path().join("driver.txt");
        let output = File::create(&printed).expect("an output file");
        command.arg("--port=0").stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
        command.env_clear().env("HOME", folder.path()).env("TMPDIR", folder.path());
        command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
        let driver = Driver(command.spawn().expect("chromedriver starts"));
        let port = eventually("chromedriver's port", async || announced_port(&std::fs::read_to_string(&printed).ok()?)).await;
        let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--user-data-dir={}", folder.path().join("profile").display()));
        let mut capabilities = Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), json!({"binary": chromium, "args": flags}));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connecting = builder.capabilities(capabilities);
        let url = format!("http://127.0.0.1:{port}");
        let client = tokio::time::timeout(PATIENCE * 2, connecting.connect(&url)).await.expect("Chromium starts in time");
        Some(Self { client: client.expect("Chromium starts"), url, _driver: driver, _folder: folder })
    }

    /// The `WebDriver` session, for what this type has no method for.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Gives the browser a command that only Chromium knows.
    pub async fn devtools(&self, command: &str, params: Value) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let session = self.client.session_id().await.expect("a session").expect("a session that is open");
        let url = format!("{}/session/{session}/goog/cdp/execute", self.url);
        let asked = reqwest::Client::new().post(url).json(&json!({"cmd": command, "params": params}));
        let answer = asked.send().await.expect("the driver answers");
        assert!(answer.status().is_success(), "{command}: {}", answer.text().await.unwrap_or_default());
    }

    /// Opens a page and waits until it has loaded.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url} does not open: {error}"));
    }

    /// Evaluates the body of a function in the page, and returns what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until the body of a function returns something in the page that is neither null nor false.
    pub async fn until(&self, what: &str, script: &str) -> Value {
        eventually(what, async || {
            // Between two pages there is nothing to ask.
            let value = self.client.execute(script, Vec::new()).await.ok()?;
            (!value.is_null() && value != Value::Bool(false)).then_some(value)
        })
        .await
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> Element {
        eventually(css, async || self.client.find(Locator::Css(css)).await.ok()).await
    }

    /// Keeps a picture of the window beside the test's program, as `screenshots/<name>.png`, and returns where.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let folder = gateway::binary().with_file_name("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        let path = folder.join(format!("{name}.png"));
        let picture = self.client.screenshot().await.expect("a picture");
        std::fs::write(&path, picture).expect("the picture is kept");
        path
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for pid in process::tree(i64::from(self.0.id())) {
            process::signal(pid, Signal::KILL);
        }
        drop(self.0.wait());
    }
}

/// The driver chooses a free port and says which, after it has repeated that it may choose.
fn announced_port(printed: &str) -> Option<u16> {
    let ports = printed.lines().filter_map(|line| line.rsplit_once("on port ")?.1.trim_end_matches('.').parse().ok());
    ports.into_iter().find(|port| *port != 0)
}
