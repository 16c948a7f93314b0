//! The shapes of A2UI v0.8: its messages and the components of its standard catalog, as data.

use serde_json::Value;

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    Number,
    Integer,
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `#` and six hexadecimal digits.
    Color,
    /// Every item has this shape.
    List(&'static Shape),
    /// The same, and there is at least one.
    Some(&'static Shape),
    Object(&'static [Member]),
    /// An object with exactly one member, which is one of these.
    One(&'static [Member]),
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) name: &'static str,
    required: bool,
    shape: Shape,
}

const fn must(name: &'static str, shape: Shape) -> Member {
    Member { name, required: true, shape }
}

const fn may(name: &'static str, shape: Shape) -> Member {
    Member { name, required: false, shape }
}

/// A literal, or where the data model has it.
const TEXT: Shape = Shape::Object(&[may("literalString", Shape::Text), may("path", Shape::Text)]);
const NUMBER: Shape = Shape::Object(&[may("literalNumber", Shape::Number), may("path", Shape::Text)]);
const BOOL: Shape = Shape::Object(&[may("literalBoolean", Shape::Bool), may("path", Shape::Text)]);
const TEXTS: Shape = Shape::Object(&[may("literalArray", Shape::List(&Shape::Text)), may("path", Shape::Text)]);
const ANY: Shape = Shape::Object(&[
    may("path", Shape::Text),
    may("literalString", Shape::Text),
    may("literalNumber", Shape::Number),
    may("literalBoolean", Shape::Bool),
]);

const CHILDREN: Shape = Shape::Object(&[
    may("explicitList", Shape::List(&Shape::Text)),
    may("template", Shape::Object(&[must("componentId", Shape::Text), must("dataBinding", Shape::Text)])),
]);

const DISTRIBUTION: Shape = Shape::Word(&["center", "end", "spaceAround", "spaceBetween", "spaceEvenly", "start"]);
const ALIGNMENT: Shape = Shape::Word(&["start", "center", "end", "stretch"]);
const LINE: Shape = Shape::Object(&[must("children", CHILDREN), may("distribution", DISTRIBUTION), may("alignment", ALIGNMENT)]);

const ICONS: &[&str] = &[
    "accountCircle",
    "add",
    "arrowBack",
    "arrowForward",
    "attachFile",
    "calendarToday",
    "call",
    "camera",
    "check",
    "close",
    "delete",
    "download",
    "edit",
    "event",
    "error",
    "favorite",
    "favoriteOff",
    "folder",
    "help",
    "home",
    "info",
    "locationOn",
    "lock",
    "lockOpen",
    "mail",
    "menu",
    "moreVert",
    "moreHoriz",
    "notificationsOff",
    "notifications",
    "payment",
    "person",
    "phone",
    "photo",
    "print",
    "refresh",
    "search",
    "send",
    "settings",
    "share",
    "shoppingCart",
    "star",
    "starHalf",
    "starOff",
    "upload",
    "visibility",
    "visibilityOff",
    "warning",
];

const ACTION: Shape = Shape::Object(&[
    must("name", Shape::Text),
    may("context", Shape::List(&Shape::Object(&[must("key", Shape::Text), must("value", ANY)]))),
]);

/// The standard catalog.
const COMPONENTS: &[Member] = &[
    may("Text", Shape::Object(&[must("text", TEXT), may("usageHint", Shape::Word(&["h1", "h2", "h3", "h4", "h5", "caption", "body"]))])),
    may(
        "Image",
        Shape::Object(&[
            must("url", TEXT),
            may("altText", TEXT),
            may("fit", Shape::Word(&["contain", "cover", "fill", "none", "scale-down"])),
            may("usageHint", Shape::Word(&["icon", "avatar", "smallFeature", "mediumFeature", "largeFeature", "header"])),
        ]),
    ),
    may("Icon", Shape::Object(&[must("name", Shape::Object(&[may("literalString", Shape::Word(ICONS)), may("path", Shape::Text)]))])),
    may("Video", Shape::Object(&[must("url", TEXT)])),
    may("AudioPlayer", Shape::Object(&[must("url", TEXT), may("description", TEXT)])),
    may("Row", LINE),
    may("Column", LINE),
    may(
        "List",
        Shape::Object(&[
            must("children", CHILDREN),
            may("direction", Shape::Word(&["vertical", "horizontal"])),
            may("alignment", ALIGNMENT),
        ]),
    ),
    may("Card", Shape::Object(&[must("child", Shape::Text)])),
    may("Tabs", Shape::Object(&[must("tabItems", Shape::List(&Shape::Object(&[must("title", TEXT), must("child", Shape::Text)])))])),
    may("Divider", Shape::Object(&[may("axis", Shape::Word(&["horizontal", "vertical"]))])),
    may("Modal", Shape::Object(&[must("entryPointChild", Shape::Text), must("contentChild", Shape::Text)])),
    may("Button", Shape::Object(&[must("child", Shape::Text), may("primary", Shape::Bool), must("action", ACTION)])),
    may("CheckBox", Shape::Object(&[must("label", TEXT), must("value", BOOL)])),
    may(
        "TextField",
        Shape::Object(&[
            must("label", TEXT),
            may("text", TEXT),
            may("textFieldType", Shape::Word(&["date", "longText", "number", "shortText", "obscured"])),
            may("validationRegexp", Shape::Text),
        ]),
    ),
    may("DateTimeInput", Shape::Object(&[must("value", TEXT), may("enableDate", Shape::Bool), may("enableTime", Shape::Bool)])),
    may(
        "MultipleChoice",
        Shape::Object(&[
            must("selections", TEXTS),
            must("options", Shape::List(&Shape::Object(&[must("label", TEXT), must("value", Shape::Text)]))),
            may("maxAllowedSelections", Shape::Integer),
        ]),
    ),
    may(
        "Slider",
        Shape::Object(&[must("value", NUMBER), may("label", TEXT), may("minValue", Shape::Number), may("maxValue", Shape::Number)]),
    ),
];

const PLAIN: [Member; 4] =
    [must("key", Shape::Text), may("valueString", Shape::Text), may("valueNumber", Shape::Number), may("valueBoolean", Shape::Bool)];
const ENTRY: Shape = Shape::Object(&[PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], may("valueMap", Shape::List(&Shape::Object(&PLAIN)))]);

/// What a message may be.
pub(super) const MESSAGE: Shape = Shape::One(&[
    may(
        "beginRendering",
        Shape::Object(&[
            must("surfaceId", Shape::Text),
            must("root", Shape::Text),
            may("catalogId", Shape::Text),
            may("styles", Shape::Object(&[may("font", Shape::Text), may("primaryColor", Shape::Color)])),
        ]),
    ),
    may(
        "surfaceUpdate",
        Shape::Object(&[
            must("surfaceId", Shape::Text),
            must(
                "components",
                Shape::Some(&Shape::Object(&[
                    must("id", Shape::Text),
                    may("weight", Shape::Number),
                    must("component", Shape::One(COMPONENTS)),
                ])),
            ),
        ]),
    ),
    may(
        "dataModelUpdate",
        Shape::Object(&[must("surfaceId", Shape::Text), may("path", Shape::Text), must("contents", Shape::List(&ENTRY))]),
    ),
    may("deleteSurface", Shape::Object(&[must("surfaceId", Shape::Text)])),
]);

/// Says where and why a value has not its shape; nothing when it has.
pub(super) fn check(shape: Shape, value: &Value, at: &str) -> Result<(), String> {
    let wants = |what: &str| Err(format!("{} must be {what}", if at.is_empty() { "the message" } else { at }));
    match shape {
        Shape::Text if value.is_string() => Ok(()),
        Shape::Text => wants("a string"),
        Shape::Number if value.is_number() => Ok(()),
        Shape::Number => wants("a number"),
        // 2.0 is an integer, too.
        Shape::Integer if value.as_f64().is_some_and(|number| number.fract() == 0.0) => Ok(()),
        Shape::Integer => wants("a whole number"),
        Shape::Bool if value.is_boolean() => Ok(()),
        Shape::Bool => wants("true or false"),
        Shape::Word(words) if value.as_str().is_some_and(|word| words.contains(&word)) => Ok(()),
        Shape::Word(words) => wants(&format!("one of {}", words.join(", "))),
        Shape::Color if value.as_str().is_some_and(is_color) => Ok(()),
        Shape::Color => wants("a color such as #1a73e8"),
        Shape::List(item) => check_list(item, value, at, 0),
        Shape::Some(item) => check_list(item, value, at, 1),
        Shape::Object(members) => check_object(members, value, at),
        Shape::One(members) => {
            check_object(members, value, at)?;
            let names = || members.iter().map(|member| member.name).collect::<Vec<_>>().join(", ");
            if value.as_object().is_some_and(|object| object.len() == 1) { Ok(()) } else { wants(&format!("exactly one of {}", names())) }
        }
    }
}

fn check_list(item: &Shape, value: &Value, at: &str, at_least: usize) -> Result<(), String> {
    let items = value.as_array().ok_or_else(|| format!("{at} must be an array"))?;
    if items.len() < at_least {
        return Err(format!("{at} must not be empty"));
    }
    items.iter().enumerate().try_for_each(|(index, value)| check(*item, value, &format!("{at}[{index}]")))
}

fn check_object(members: &[Member], value: &Value, at: &str) -> Result<(), String> {
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    let object = value.as_object().ok_or_else(|| format!("{} must be an object", if at.is_empty() { "the message" } else { at }))?;
    for (name, value) in object {
        let member = members.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| format!("{} is not known", below(name)))?;
        check(member.shape, value, &below(name))?;
    }
    let missing = members.iter().find(|member| member.required && !object.contains_key(member.name));
    missing.map_or(Ok(()), |member| Err(format!("{} is missing", below(member.name))))
}

fn is_color(word: &str) -> bool {
    word.strip_prefix('#').is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}
