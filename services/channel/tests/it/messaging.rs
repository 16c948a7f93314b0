//! Messages and logins: what is refused, and why.

use verso_proto::channel::v1::messaging_client::MessagingClient;
use verso_proto::channel::v1::{ChannelsLogoutRequest, PollRequest, SendRequest, WebLoginStartRequest};

use super::*;

async fn connect(state: &Path, config: Value) -> MessagingClient<Channel> {
    let config = Arc::new(File::from_value(config));
    let context = Context { clock: Clock::fixed(NOW_MS), config, ..Context::for_test("channel", state) };
    let routes = verso_channel::routes(&context, &Tasks::new(CancellationToken::new())).await.unwrap();
    MessagingClient::new(verso_kit::grpc::in_memory(routes))
}

async fn refused(client: &mut MessagingClient<Channel>, channel: Option<&str>, to: &str, account: Option<&str>) -> String {
    let request = SendRequest {
        to: to.into(),
        message: "hello".into(),
        channel: channel.map(str::to_owned),
        account_id: account.map(str::to_owned),
        idempotency_key: "k".into(),
        ..SendRequest::default()
    };
    let status = client.send(request).await.unwrap_err();
    format!("{:?} {}", status.code(), status.message())
}

#[tokio::test]
async fn nothing_is_said_to_be_sent_that_was_not() {
    let state = tempfile::tempdir().unwrap();
    let channels = json!({"signal": {"account": "+1555"}, "discord": {}, "irc": {"enabled": false, "host": "h", "nick": "n"}});
    let mut client = connect(state.path(), json!({"channels": channels})).await;
    for (channel, to, account, expected) in [
        (Some("Made-Up"), "x", None, "InvalidArgument unsupported channel: made-up"),
        (Some("whatsapp"), "nobody", None, "InvalidArgument Delivering to WhatsApp requires target <E.164|group JID>"),
        (Some("whatsapp"), "+49 30 1234567", None, "Unavailable whatsapp is not available: it is not configured"),
        (None, "+4930123456", None, "Unavailable signal is not available: this channel is not available in this build yet"),
        (Some("telegram"), " ", None, "InvalidArgument Delivering to Telegram requires target <chatId>"),
        (Some("signal"), "+4930123456", Some("other"), "InvalidArgument unknown account \"other\" for channel signal"),
        (Some("discord"), "42", None, "Unavailable discord is not available: its account lacks credentials"),
        (Some("irc"), "#den", None, "Unavailable irc is not available: its account is disabled"),
    ] {
        assert_eq!(refused(&mut client, channel, to, account).await, expected);
    }
}

#[tokio::test]
async fn not_every_network_has_polls() {
    let state = tempfile::tempdir().unwrap();
    let mut client = connect(state.path(), json!({})).await;
    let poll = |channel: &str| PollRequest {
        to: "+4930123456".into(),
        question: "q".into(),
        channel: Some(channel.into()),
        ..PollRequest::default()
    };
    assert_eq!(client.poll(poll("irc")).await.unwrap_err().message(), "unsupported poll channel: irc");
    assert_eq!(client.poll(poll("none")).await.unwrap_err().message(), "unsupported channel: none");
    assert_eq!(client.poll(poll("whatsapp")).await.unwrap_err().message(), "whatsapp is not available: it is not configured");
}

#[tokio::test]
async fn a_logout_removes_the_credentials_of_its_account_only() {
    let state = tempfile::tempdir().unwrap();
    let mut client = connect(state.path(), json!({})).await;
    let folder = state.path().join("credentials/whatsapp");
    for account in ["default", "other"] {
        std::fs::create_dir_all(folder.join(account)).unwrap();
        std::fs::write(folder.join(account).join("creds.json"), "{}").unwrap();
    }
    let logout =
        |channel: &str, account: Option<&str>| ChannelsLogoutRequest { channel: channel.into(), account_id: account.map(str::to_owned) };
    let gone = client.channels_logout(logout("whatsapp", None)).await.unwrap().into_inner();
    assert_eq!((gone.account_id.as_str(), gone.cleared, gone.logged_out), ("default", true, Some(true)));
    assert!(!client.channels_logout(logout("whatsapp", None)).await.unwrap().into_inner().cleared);
    assert!(!client.channels_logout(logout("whatsapp", Some("../whatsapp"))).await.unwrap().into_inner().cleared);
    assert!(folder.join("other/creds.json").exists());
    let status = client.channels_logout(logout("made-up", None)).await.unwrap_err();
    assert_eq!(status.message(), "invalid channels.logout channel");
    let status = client.channels_logout(logout("irc", None)).await.unwrap_err();
    assert_eq!(status.message(), "channel irc does not support logout");
}

#[tokio::test]
async fn a_login_that_no_network_offers_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let mut client = connect(state.path(), json!({})).await;
    let login = |channel: Option<&str>| WebLoginStartRequest { channel: channel.map(str::to_owned), ..WebLoginStartRequest::default() };
    let status = client.web_login_start(login(None)).await.unwrap_err();
    assert_eq!(status.message(), "web login provider is not available");
    let status = client.web_login_start(login(Some("irc"))).await.unwrap_err();
    assert_eq!(status.message(), "web login is not supported by provider irc");
}

#[tokio::test]
async fn sec_85_an_account_that_nobody_has_linked_says_so_and_starts_no_process() {
    let state = tempfile::tempdir().unwrap();
    let mut client = connect(state.path(), json!({"channels": {"whatsapp": {}}})).await;
    let refusal = refused(&mut client, Some("whatsapp"), "+4930123456", None).await;
    assert_eq!(refusal, "FailedPrecondition whatsapp is not linked: link it first, with `verso channels login`");
    assert!(!state.path().join("channel/accounts").exists() && !state.path().join("run/accounts").exists());
}
