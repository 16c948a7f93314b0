//! The secrets of messages, by which later votes, marks and changes of them are read.

use whatsapp_rust::async_trait;
use whatsapp_rust::traits::{MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts};
use whatsapp_rust::wacore::store::error::{Result, StoreError};

use super::{Entries, Kind, Store, name};

/// How long a secret is; the time of its message follows it.
const SECRET_BYTES: usize = 32;

fn stored(entries: &Entries<'_>, name: &[u8]) -> Result<Option<(Vec<u8>, i64, i64)>> {
    let Some((mut value, expires_at)) = entries.get_with_number(Kind::Secret, name)? else { return Ok(None) };
    let bad = || StoreError::Validation("a secret of a message has a wrong length".to_owned());
    let time = value.split_off_checked(SECRET_BYTES).and_then(|time| time.try_into().ok()).ok_or_else(bad)?;
    Ok(Some((value, i64::from_be_bytes(time), expires_at)))
}

/// Splits without panicking.
trait SplitChecked: Sized {
    fn split_off_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitChecked for Vec<u8> {
    fn split_off_checked(&mut self, at: usize) -> Option<Self> {
        (at <= self.len()).then(|| self.split_off(at))
    }
}

#[async_trait]
impl MsgSecretStore for Store {
    async fn put_msg_secrets(&self, all: Vec<MsgSecretEntry>) -> Result<usize> {
        self.write(move |entries| {
            for entry in &all {
                let name = name(&[&entry.chat, &entry.sender, &entry.msg_id]);
                let (mut expires_at, mut message_ts) = (entry.expires_at, entry.message_ts);
                if let Some((_, known_ts, known_expiry)) = stored(entries, &name)? {
                    expires_at = merge_msg_secret_expiry(known_expiry, expires_at);
                    message_ts = merge_msg_secret_message_ts(known_ts, message_ts);
                }
                let value = [&entry.secret[..], &message_ts.to_be_bytes()].concat();
                entries.put(Kind::Secret, &name, &value, expires_at)?;
            }
            Ok(all.len())
        })
        .await
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get_msg_secret_with_ts(chat, sender, msg_id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<(Vec<u8>, i64)>> {
        let name = name(&[chat, sender, msg_id]);
        let found = self.read(move |entries| stored(entries, &name)).await?;
        Ok(found.map(|(secret, message_ts, _)| (secret, message_ts)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        // What ends at that second has ended.
        self.delete_before(Kind::Secret, cutoff_timestamp.saturating_add(1)).await
    }
}
