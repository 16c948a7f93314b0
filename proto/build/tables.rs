//! The method table, the event table, and what makes requests and events usable without knowing their names.

use std::error::Error;
use std::fmt::Write as _;

use protox::prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

use crate::attributes;
use crate::options::{self, Options, rust_path};
use crate::schema;

/// Every process that can call another.
const PROCESSES: [&str; 8] = ["edge", "presence", "node", "channel", "agent", "canvas", "supervisor", "operator"];

pub(crate) fn generate(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let mut calls = String::new();
    let mut table = String::new();
    let mut sources = String::new();
    let mut index = 0_usize;
    for method in pool
        .services()
        .filter(|service| service.full_name().starts_with("verso."))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        // Carries calls, and is none.
        if method.is_client_streaming() {
            continue;
        }
        if method.name() == "Subscribe" {
            writeln!(sources, "{}", source(pool, &method)?)?;
            continue;
        }
        let options = options::of_method(pool, &method);
        writeln!(table, "{},", row(pool, &method, options.as_ref())?)?;
        writeln!(calls, "{}", call(&method, options.as_ref(), index))?;
        index += 1;
    }
    let events = pool.all_messages().filter(|message| message.name() == "Event" && message.full_name().starts_with("verso."));
    let (mut kinds, mut impls, mut first) = (String::new(), String::new(), 0);
    for event in events {
        first = event_type(pool, &event, first, &mut kinds, &mut impls)?;
    }
    Ok(format!(
        "/// Every rpc but `Subscribe` and what carries others, in the order of the files.\npub static METHODS: &[Method] = &[\n{table}];\n\
         /// Every event, in the order of the files.\npub static EVENTS: &[EventKind] = &[\n{kinds}];\n\
         /// The services that emit events.\npub static EVENT_SOURCES: &[EventSource] = &[\n{sources}];\n{calls}\n{impls}"
    ))
}

fn row(pool: &DescriptorPool, method: &MethodDescriptor, options: Option<&Options>) -> Result<String, Box<dyn Error>> {
    let text = |field: &str| options.map(|options| options.text(field)).unwrap_or_default();
    let flag = |field: &str| options.is_some_and(|options| options.flag(field));
    let number = |field: &str| options.map(|options| options.number(field)).unwrap_or_default();
    let name = text("name");
    let scope = options.and_then(|options| options.variant("scope")).unwrap_or_else(|| "Unspecified".to_owned());
    if !name.is_empty() && scope == "ScopeUnspecified" {
        return Err(format!("{}: a wire method needs a scope", method.full_name()).into());
    }
    let scope = if name.is_empty() { "Admin".to_owned() } else { scope };
    let scope_v3 = options.filter(|options| options.number_of("scope_v3") > 0).and_then(|options| options.variant("scope_v3"));
    let scope_v3 = scope_v3.map_or_else(|| "None".to_owned(), |scope| format!("Some(Scope::{scope})"));
    let role = options.and_then(|options| options.variant("role")).unwrap_or_else(|| "Operator".to_owned());
    let retry = match (flag("read_only"), flag("idempotent")) {
        (true, _) => "ReadOnly",
        (false, true) => "Keyed",
        (false, false) => "Never",
    };
    let timeout_ms = if number("timeout_ms") == 0 { 10_000 } else { number("timeout_ms") };
    let schema = schema::of(pool, &method.input(), flag("open"));
    Ok(format!(
        "Method {{ name: {name:?}, service: {service:?}, path: {path:?}, scope: Scope::{scope}, scope_v3: {scope_v3}, role: Role::{role}, retry: Retry::{retry}, \
         streaming: {streaming}, since: {since}, listed: {listed}, timeout_ms: {timeout_ms}, control_write: {control_write}, \
         dynamic_scope: {dynamic}, callers: &{callers:?}, \
         params_schema: {schema:?}, result_schema: {result:?}, transcode: {transcode} }}",
        service = method.parent_service().full_name(),
        path = format!("/{}/{}", method.parent_service().full_name(), method.name()),
        streaming = method.is_server_streaming(),
        since = number("since").max(3),
        listed = !name.is_empty() && !flag("unlisted"),
        control_write = flag("control_write"),
        dynamic = dynamic_scope(options),
        callers = callers(method, options)?,
        schema = schema.to_string(),
        // Internal rpcs have no JSON form.
        result = if name.is_empty() { String::new() } else { schema::of_written(pool, &method.output()).to_string() },
        transcode = transcode(pool, method, &name),
    ))
}

/// Internal rpcs carry envelopes that need no JSON form.
fn transcode(pool: &DescriptorPool, method: &MethodDescriptor, name: &str) -> String {
    if name.is_empty() {
        return "None".to_owned();
    }
    let (input, output) = (rust_path(method.input().full_name()), rust_path(method.output().full_name()));
    // An answer that is JSON text already needs no rendering.
    let rendered = options::bare(pool, &method.output()).then(|| method.output().fields().next()).flatten().filter(|field| {
        field.kind().as_message().is_some_and(|message| message.full_name() == "verso.wire.v1.Json") && !attributes::is_optional(field)
    });
    let decode = rendered.map_or_else(
        || format!("decode::<{output}>"),
        |field| format!("|message| Ok({output}::decode(message)?.{}.unwrap_or_default().text)", field.name()),
    );
    format!("Some(Transcode {{ encode: encode::<{input}>, decode: {decode} }})")
}

fn dynamic_scope(options: Option<&Options>) -> String {
    let Some(rule) = options.and_then(|options| options.message("dynamic_scope")) else { return "None".to_owned() };
    format!(
        "Some(DynamicScopeRule {{ field: {:?}, first_words: &{:?}, only_members: &{:?}, subject_members: &{:?}, scope: Scope::{} }})",
        rule.text("field"),
        rule.texts("first_words"),
        rule.texts("only_members"),
        rule.texts("subject_members"),
        rule.variant("scope").unwrap_or_default(),
    )
}

fn call(method: &MethodDescriptor, options: Option<&Options>, index: usize) -> String {
    let wait = options.map(|options| options.text("wait_field")).filter(|field| !field.is_empty()).map_or_else(String::new, |field| {
        format!("fn wait_ms(&self) -> Option<u64> {{ self.{field}.and_then(|wait| u64::try_from(wait).ok()) }}")
    });
    format!(
        "impl Call for {} {{ type Response = {}; const METHOD: &'static Method = &METHODS[{index}]; {wait} }}",
        rust_path(method.input().full_name()),
        rust_path(method.output().full_name()),
    )
}

fn source(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<String, Box<dyn Error>> {
    Ok(format!(
        "EventSource {{ service: {:?}, path: {:?}, callers: &{:?}, read: read_event::<{}> }},",
        method.parent_service().full_name(),
        format!("/{}/{}", method.parent_service().full_name(), method.name()),
        callers(method, options::of_method(pool, method).as_ref())?,
        rust_path(method.output().full_name()),
    ))
}

/// The processes that may call.
fn callers(method: &MethodDescriptor, options: Option<&Options>) -> Result<Vec<String>, Box<dyn Error>> {
    let named = options.map(|options| options.texts("callers")).unwrap_or_default();
    if let Some(unknown) = named.iter().find(|caller| !PROCESSES.contains(&caller.as_str())) {
        return Err(format!("{}: there is no process \"{unknown}\"", method.full_name()).into());
    }
    Ok(if named.is_empty() { vec!["edge".to_owned()] } else { named })
}

/// Envelopes whose events are on the heap: they change hands often, and the largest would make each as large as itself.
pub(crate) const BOXED_EVENTS: [&str; 1] = ["verso.agent.v1.Event"];

fn event_type(
    pool: &DescriptorPool,
    event: &MessageDescriptor,
    first: usize,
    kinds: &mut String,
    impls: &mut String,
) -> Result<usize, Box<dyn Error>> {
    let path = rust_path(event.full_name());
    let module = path.trim_end_matches("::Event").to_owned();
    let (mut arms, mut froms, mut index) = (String::new(), String::new(), first);
    for field in event.fields().filter(|field| field.containing_oneof().is_some()) {
        let rule = options::event(pool, &field).ok_or_else(|| format!("{}: an event needs its rule", field.full_name()))?;
        writeln!(
            kinds,
            "EventKind {{ name: {:?}, scope: Scope::{}, nodes: {}, drop_if_slow: {}, payload_schema: {:?} }},",
            field.json_name(),
            // Without a scope, an event is for the edge alone.
            rule.variant("scope").filter(|scope| scope != "ScopeUnspecified").unwrap_or_else(|| "Unspecified".to_owned()),
            rule.flag("nodes"),
            rule.flag("drop_if_slow"),
            field.kind().as_message().map_or_else(String::new, |message| schema::of_written(pool, message).to_string()),
        )?;
        let variant = options::camel(field.name());
        let payload = field.kind().as_message().map(|message| rust_path(message.full_name())).unwrap_or_default();
        let kept = if BOXED_EVENTS.contains(&event.full_name()) { "Box::new(payload)" } else { "payload" };
        writeln!(arms, "{module}::event::Event::{variant}(payload) => Ok(Some((&EVENTS[{index}], serde_json::to_string(payload)?))),")?;
        writeln!(
            froms,
            "impl From<{payload}> for {path} {{ fn from(payload: {payload}) -> Self {{ \
             Self {{ meta: None, event: Some({module}::event::Event::{variant}({kept})) }} }} }}"
        )?;
        index += 1;
    }
    write!(
        impls,
        "impl ServiceEvent for {path} {{\n\
         fn meta(&self) -> Option<&crate::wire::v1::EventMeta> {{ self.meta.as_ref() }}\n\
         fn meta_mut(&mut self) -> &mut crate::wire::v1::EventMeta {{ self.meta.get_or_insert_default() }}\n\
         fn payload(&self) -> Result<Option<(&'static EventKind, String)>, serde_json::Error> {{\n\
         match &self.event {{ None => Ok(None), Some(event) => match event {{ {arms} }} }} }} }}\n{froms}"
    )?;
    Ok(index)
}
