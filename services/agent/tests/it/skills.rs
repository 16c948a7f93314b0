//! Skills through the service's own rpcs.

use serde_json::json;
use tonic::Code;
use verso_proto::agent::v1::skills_client::SkillsClient;
use verso_proto::agent::v1::{SkillsBinsRequest, SkillsInstallRequest, SkillsStatusRequest};

use crate::agent::{Agent, config, turn};
use crate::provider::Provider;

#[tokio::test]
async fn lists_skills_what_they_lack_and_what_they_ask_for() {
    let provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let skill = folder.path().join("skills/notes");
    std::fs::create_dir_all(&skill).unwrap();
    let metadata = r#"{"openclaw": {"emoji": "N", "requires": {"bins": ["no-such-program"]}, "install": [{"kind": "brew", "formula": "x", "bins": ["x"]}]}}"#;
    let text = format!("---\nname: notes\ndescription: Keeps notes\nmetadata: {metadata}\n---\n");
    std::fs::write(skill.join("SKILL.md"), text).unwrap();
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    let mut client = SkillsClient::new(verso_kit::grpc::in_memory(agent.service.routes()));

    let status = client.status(SkillsStatusRequest::default()).await.unwrap().into_inner();
    assert_eq!(status.managed_skills_dir, folder.path().join("skills").display().to_string());
    let notes = &status.skills[0];
    assert_eq!((notes.name.as_str(), notes.source.as_str(), notes.eligible), ("notes", "openclaw-managed", false));
    assert_eq!(notes.missing.as_ref().unwrap().bins, ["no-such-program"]);
    assert_eq!((notes.install[0].id.as_str(), notes.install[0].label.as_str()), ("brew-0", "Install x (brew)"));

    let bins = client.bins(SkillsBinsRequest {}).await.unwrap().into_inner().bins;
    assert_eq!(bins, ["no-such-program", "x"]);

    let install = |name: &str, option: &str| SkillsInstallRequest {
        name: name.to_owned(),
        install_id: option.to_owned(),
        ..SkillsInstallRequest::default()
    };
    let refused = client.install(install("notes", "brew-0")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "brew is not installed on the gateway host"));
    assert_eq!(client.install(install("none", "brew-0")).await.unwrap_err().message(), "Skill not found: none");
    assert_eq!(client.install(install("notes", "x")).await.unwrap_err().message(), "Installer not found: x");
}

#[tokio::test]
async fn an_agent_uses_the_skills_of_its_list_and_no_others() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["notes", "weather"] {
        let skill = folder.path().join("skills").join(name);
        std::fs::create_dir_all(&skill).unwrap();
        std::fs::write(skill.join("SKILL.md"), format!("---\nname: {name}\ndescription: About {name}\n---\n")).unwrap();
    }
    let mut config = config(&provider);
    config["agents"]["list"] = json!([{"id": "main"}, {"id": "some", "skills": ["notes"]}, {"id": "none", "skills": []}]);
    let agent = Agent::open(folder.path(), config, 1).await;
    for (id, uses) in [("main", [true, true]), ("some", [true, false]), ("none", [false, false])] {
        let session = format!("agent:{id}:main");
        for (name, uses) in ["notes", "weather"].into_iter().zip(uses) {
            let answers = agent.run(turn(&session, "hi", &format!("{id} {name}"))).await.unwrap();
            let asked = provider.reply("hello").await;
            answers.rest().await;
            let prompt = asked["messages"][0]["content"].as_str().unwrap();
            assert_eq!(prompt.contains(&format!("<name>{name}</name>")), uses, "{id} {name}");
            agent.send(&session, &format!("/skill {name} go"), &format!("{id} /{name}")).await.unwrap();
            if uses {
                provider.reply("gone").await;
            }
            let said = || async { agent.transcript(&session).await.last().cloned().unwrap_or_default() };
            let wanted = if uses { "assistant: gone".to_owned() } else { format!("assistant: There is no usable skill \"{name}\".") };
            while uses && said().await != wanted {
                tokio::task::yield_now().await;
            }
            assert_eq!(said().await, wanted, "{id} {name}");
        }
    }
}
