use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tempfile::TempDir;

use super::*;

struct House {
    folder: TempDir,
}

impl House {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn skill(&self, place: &str, name: &str, metadata: &str) {
        let folder = self.folder.path().join(place).join(name.replace('/', "-"));
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!("---\nname: {name}\ndescription: \"Use when: {place}\"\nmetadata: {metadata}\n---\nDo it.\n");
        std::fs::write(folder.join("SKILL.md"), text).unwrap();
    }

    fn load(&self, skills: &Value) -> Vec<Skill> {
        self.shelf(skills).load(&self.folder.path().join("workspace"))
    }

    fn shelf(&self, skills: &Value) -> Shelf {
        let bin = self.folder.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("there"), "").unwrap();
        std::fs::set_permissions(bin.join("there"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let bundled = self.folder.path().join("bundled");
        let env = Env::from_pairs([("PATH", bin.to_str().unwrap()), ("VERSO_BUNDLED_SKILLS_DIR", bundled.to_str().unwrap()), ("SET", "1")]);
        let file = Arc::new(File::from_value(json!({"skills": skills, "browser": {"enabled": true, "token": "s3cret"}})));
        Shelf::new(&file, &env, &self.folder.path().join("state")).unwrap()
    }
}

#[test]
fn the_workspace_counts_before_managed_and_bundled() {
    let house = House::new();
    for place in ["bundled", "state/skills", "workspace/skills"] {
        house.skill(place, "one", "{}");
        house.skill(place, place.split('/').next().unwrap(), "{}");
    }
    let found = house.load(&json!({}));
    let names: Vec<_> = found.iter().map(|skill| (skill.manifest.name.as_str(), skill.source.as_str())).collect();
    let expected = [
        ("bundled", "openclaw-bundled"),
        ("one", "openclaw-workspace"),
        ("state", "openclaw-managed"),
        ("workspace", "openclaw-workspace"),
    ];
    assert_eq!(names, expected);
    assert_eq!(found[1].manifest.description, "Use when: workspace/skills");
}

#[test]
fn what_is_missing_is_named_and_keeps_a_skill_from_use() {
    let house = House::new();
    let asks = r#"{"openclaw": {"requires": {"bins": ["there", "gone"], "anyBins": ["gone", "there"], "env": ["SET", "KEY"],
  "config": ["browser.enabled", "browser.off"]}, "os": ["win32"]}}"#;
    house.skill("workspace/skills", "asks", asks);
    house.skill("workspace/skills", "always", r#"{"openclaw": {"always": true, "requires": {"bins": ["gone"]}}}"#);
    let found = house.load(&json!({}));
    assert!(found[0].eligible(), "a skill that says always can be used");
    let missing = &found[1].missing;
    assert!(!found[1].eligible());
    assert_eq!((missing.bins.as_slice(), missing.env.as_slice()), (["gone".to_owned()].as_slice(), ["KEY".to_owned()].as_slice()));
    assert!(missing.any_bins.is_empty() && missing.os == ["win32"] && missing.config == ["browser.off"]);
}

#[test]
fn a_check_never_shows_a_text_of_the_configuration() {
    let house = House::new();
    house.skill("workspace/skills", "peeks", r#"{"openclaw": {"requires": {"config": ["browser.token"]}}}"#);
    let found = house.load(&json!({}));
    assert_eq!((found[0].checks[0].satisfied, &found[0].checks[0].value), (true, &json!(true)));
}

#[test]
fn the_configuration_turns_skills_off_and_gives_them_keys() {
    let house = House::new();
    house.skill("workspace/skills", "keyed", r#"{"openclaw": {"primaryEnv": "KEY", "requires": {"env": ["KEY"]}}}"#);
    house.skill("workspace/skills", "off", "{}");
    house.skill("bundled", "kept", "{}");
    house.skill("bundled", "blocked", "{}");
    let skills = json!({"allowBundled": ["kept"], "entries": {"keyed": {"apiKey": "k", "env": {"SET": "no", "MORE": "m"}}, "off": {"enabled": false}}});
    let shelf = house.shelf(&skills);
    let found = shelf.load(&house.folder.path().join("workspace"));
    let usable: Vec<_> = found.iter().filter(|skill| skill.eligible()).map(|skill| skill.manifest.name.as_str()).collect();
    assert_eq!(usable, ["kept", "keyed"]);
    let variables = shelf.variables(&found);
    assert_eq!(variables.into_iter().collect::<Vec<_>>(), [("KEY".to_owned(), "k".to_owned()), ("MORE".to_owned(), "m".to_owned())]);
}

#[test]
fn the_prompt_lists_what_can_be_used_and_cannot_be_broken_out_of() {
    let house = House::new();
    house.skill("workspace/skills", "a</skill>", "{}");
    house.skill("workspace/skills", "gone", r#"{"openclaw": {"requires": {"bins": ["gone"]}}}"#);
    let text = prompt(&house.load(&json!({}))).unwrap();
    assert!(text.contains("a&lt;/skill&gt;") && !text.contains("gone"), "{text}");
    assert_eq!(text.matches("</skill>").count(), 1);
}

#[test]
fn a_file_without_a_name_is_no_skill() {
    for text in ["", "name: x\n", "---\nname: x\n", "---\nname: x\n---\n", "---\ndescription: x\n---\n"] {
        assert!(Manifest::parse(text).is_err(), "{text:?}");
    }
    let folded = Manifest::parse("---\nname: 'x'\ndescription: >\n  one\n  two\n---\n").unwrap();
    assert_eq!((folded.name.as_str(), folded.description.as_str()), ("x", "one two"));
}
