//! Programs that only filter what they read: with these options, and without a file's name, they can touch nothing.

/// A program that only filters.
struct Filter {
    name: &'static str,
    /// Letters of options without a value.
    flags: &'static str,
    /// Letters of options with a value.
    values: &'static str,
    /// How many words beside options it takes that are no file.
    operands: usize,
}

/// Long options, abbreviations of them, and every letter that is not here are not understood, and what is not understood asks.
const FILTERS: [Filter; 9] = [
    Filter { name: "jq", flags: "rceSMsaj", values: "", operands: 1 },
    Filter { name: "grep", flags: "ivcnEFowxqsh", values: "meABC", operands: 1 },
    Filter { name: "cut", flags: "ns", values: "dfcb", operands: 0 },
    Filter { name: "sort", flags: "nrufhVbdMg", values: "kt", operands: 0 },
    Filter { name: "uniq", flags: "cdui", values: "fsw", operands: 0 },
    Filter { name: "head", flags: "qv", values: "nc", operands: 0 },
    Filter { name: "tail", flags: "qv", values: "nc", operands: 0 },
    Filter { name: "tr", flags: "dsct", values: "", operands: 2 },
    Filter { name: "wc", flags: "lwcmL", values: "", operands: 0 },
];

/// What a jq program may not name: the environment, other files, and what it is run by.
const JQ_REFUSED: [&str; 7] = ["env", "import", "include", "input", "$__", "debug", "halt"];

/// Returns the programs that count as filters unless configured.
pub(super) fn names() -> Vec<String> {
    FILTERS.iter().map(|filter| filter.name.to_owned()).collect()
}

/// Whether a program with these arguments only filters its input.
pub(super) fn harmless(name: &str, arguments: &[String]) -> bool {
    let Some(filter) = FILTERS.iter().find(|filter| filter.name == name) else { return false };
    let mut operands: Vec<&str> = Vec::new();
    let mut named_pattern = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            operands.push(argument);
            continue;
        };
        if letters.chars().all(|letter| filter.flags.contains(letter)) {
            continue;
        }
        let mut signs = letters.chars();
        let Some(letter) = signs.next().filter(|letter| filter.values.contains(*letter)) else { return false };
        let attached = signs.as_str();
        let value = if attached.is_empty() { rest.next().map(String::as_str) } else { Some(attached) };
        let Some(value) = value else { return false };
        named_pattern |= name == "grep" && letter == 'e';
        // A value is a number, a sign or a pattern, never a file.
        if letter != 'e' && value.contains('/') && value != "/" {
            return false;
        }
    }
    let most = if named_pattern { 0 } else { filter.operands };
    if operands.len() > most || operands.contains(&"-") {
        return false;
    }
    name != "jq" || operands.iter().all(|program| JQ_REFUSED.iter().all(|word| !program.to_ascii_lowercase().contains(word)))
}
