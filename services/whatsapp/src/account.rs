//! Who is who: the network's ids, and the numbers that people know.

use whatsapp_rust::{Client, Jid};

/// The account's own ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) number: Option<Jid>,
    pub(crate) lid: Option<Jid>,
}

impl Me {
    /// Whether an id is the account's own.
    pub(crate) fn is(&self, id: &Jid) -> bool {
        let same = |own: &Option<Jid>| own.as_ref().is_some_and(|own| own.is_same_chat_as(id));
        same(&self.number) || same(&self.lid)
    }

    /// Returns the number as people write it.
    pub(crate) fn shown(&self) -> Option<String> {
        self.number.as_ref().map(shown)
    }
}

/// Returns the ids of the account as the client knows them now.
pub(crate) fn me(client: &Client) -> Me {
    Me { number: client.pn().map(|id| id.to_non_ad()), lid: client.lid().map(|id| id.to_non_ad()) }
}

/// Returns an id as the rest of Verso knows it: a number as people write it, a group by its id, and who hides his number by his hidden id.
pub(crate) fn shown(id: &Jid) -> String {
    if id.is_pn() { format!("+{}", id.user_base()) } else { id.to_non_ad_string() }
}

/// Reads an id as the rest of Verso knows it, or as people write it.
pub(crate) fn read(text: &str) -> Option<Jid> {
    let text = text.trim();
    let text = text.strip_prefix("whatsapp:").unwrap_or(text).trim();
    if text.contains('@') {
        return text.parse().ok();
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let number = text.chars().all(|letter| letter.is_ascii_digit() || "+ -().".contains(letter));
    (number && (5..=15).contains(&digits.len())).then(|| Jid::pn(digits))
}

/// Returns the number behind a hidden id, where it is known.
pub(crate) async fn unhidden(client: &Client, id: &Jid, also: Option<&Jid>) -> Jid {
    if !id.is_lid() {
        return id.to_non_ad();
    }
    if let Some(number) = also.filter(|also| also.is_pn()) {
        return number.to_non_ad();
    }
    match client.get_lid_pn_entry(id).await {
        Ok(Some(entry)) => Jid::pn(&*entry.phone_number),
        _ => id.to_non_ad(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown_and_as_people_write_them() {
        for (text, id, again) in [
            ("+4930123456", "4930123456@s.whatsapp.net", "+4930123456"),
            ("whatsapp:+49 (30) 123-456", "4930123456@s.whatsapp.net", "+4930123456"),
            ("120363021033254949@g.us", "120363021033254949@g.us", "120363021033254949@g.us"),
            ("100000012345678@lid", "100000012345678@lid", "100000012345678@lid"),
        ] {
            let read = read(text).unwrap();
            assert_eq!((read.to_string(), shown(&read)), (id.to_owned(), again.to_owned()));
        }
        for nobody in ["", "ada", "+12", "1234567890123456", "ada@"] {
            assert_eq!(read(nobody), None, "{nobody:?}");
        }
    }

    #[test]
    fn an_account_knows_itself_by_its_number_and_its_hidden_id_on_any_device() {
        let me = Me { number: Some(Jid::pn("491701")), lid: Some(Jid::lid("77")) };
        assert!(me.is(&"491701:5@s.whatsapp.net".parse().unwrap()) && me.is(&"77:2@lid".parse().unwrap()));
        assert!(!me.is(&"77@s.whatsapp.net".parse().unwrap()), "a hidden id is no number");
        assert_eq!(me.shown().as_deref(), Some("+491701"));
    }
}
