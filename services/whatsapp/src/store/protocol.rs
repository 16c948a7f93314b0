//! What the network's own bookkeeping keeps: who has which keys, who is who, and what is under way.

use whatsapp_rust::async_trait;
use whatsapp_rust::traits::{DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry};
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::time::now_secs;

use super::{Entries, Kind, Store, from_json, name, to_json};

/// Messages that were sent and can be encrypted anew for whoever could not read them.
const SENT_MAX: i64 = 4_096;

/// Returns the last part of a name.
fn last(name: &[u8]) -> String {
    let part = name.rsplit(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(part).into_owned()
}

fn put_mapping(entries: &Entries<'_>, entry: &LidPnMappingEntry) -> Result<()> {
    let lid = entry.lid.as_bytes();
    if let Some(known) = entries.get(Kind::LidNumber, lid)? {
        let known: LidPnMappingEntry = from_json(&known)?;
        let number = known.phone_number.as_bytes();
        // The number is somebody else's now, unless it was given to another id meanwhile.
        if known.phone_number != entry.phone_number && entries.get(Kind::NumberLid, number)?.as_deref() == Some(lid) {
            entries.delete(Kind::NumberLid, number)?;
        }
    }
    entries.put(Kind::NumberLid, entry.phone_number.as_bytes(), lid, 0)?;
    entries.put(Kind::LidNumber, lid, &to_json(entry)?, 0)
}

fn token(entries: &Entries<'_>, jid: &str) -> Result<Option<TcTokenEntry>> {
    entries.get(Kind::Token, jid.as_bytes())?.map(|value| from_json(&value)).transpose()
}

#[async_trait]
impl ProtocolStore for Store {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let start = name(&[group_jid, ""]);
        let all = self.read(move |entries| entries.beginning_with(Kind::SenderKeyDevice, &start)).await?;
        Ok(all.into_iter().map(|(name, has)| (last(&name), has == [1])).collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, all: &[(&str, bool)]) -> Result<()> {
        let entry = |(device, has): &(&str, bool)| (name(&[group_jid, device]), vec![u8::from(*has)]);
        self.put_all(Kind::SenderKeyDevice, all.iter().map(entry).collect()).await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        let start = name(&[group_jid, ""]);
        self.write(move |entries| {
            let all = entries.beginning_with(Kind::SenderKeyDevice, &start)?;
            all.iter().try_for_each(|(name, _)| entries.delete(Kind::SenderKeyDevice, name))
        })
        .await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        let devices: Vec<String> = device_jids.iter().map(|&device| device.to_owned()).collect();
        self.write(move |entries| {
            let all = entries.beginning_with(Kind::SenderKeyDevice, &[])?;
            let gone = all.iter().filter(|(name, _)| devices.contains(&last(name)));
            gone.map(|(name, _)| name).try_for_each(|name| entries.delete(Kind::SenderKeyDevice, name))
        })
        .await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.write(|entries| {
            let all = entries.beginning_with(Kind::SenderKeyDevice, &[])?;
            all.iter().try_for_each(|(name, _)| entries.delete(Kind::SenderKeyDevice, name))
        })
        .await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        self.get_json(Kind::LidNumber, lid).await
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let phone = phone.as_bytes().to_vec();
        self.read(move |entries| {
            let Some(lid) = entries.get(Kind::NumberLid, &phone)? else { return Ok(None) };
            entries.get(Kind::LidNumber, &lid)?.map(|value| from_json(&value)).transpose()
        })
        .await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, all: &[LidPnMappingEntry]) -> Result<()> {
        let all = all.to_vec();
        self.write(move |entries| all.iter().try_for_each(|entry| put_mapping(entries, entry))).await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let all = self.read(|entries| entries.beginning_with(Kind::LidNumber, &[])).await?;
        all.iter().map(|(_, value)| from_json(value)).collect()
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        self.put(Kind::BaseKey, name(&[address, message_id]), base_key).await
    }

    async fn has_same_base_key(&self, address: &str, message_id: &str, current_base_key: &[u8]) -> Result<bool> {
        let known = self.get(Kind::BaseKey, name(&[address, message_id])).await?;
        Ok(known.as_deref() == Some(current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.delete(Kind::BaseKey, name(&[address, message_id])).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let all: Result<_> = records.iter().map(|record| Ok((record.user.clone().into_bytes(), to_json(record)?))).collect();
        self.put_all(Kind::Devices, all?).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.get_json(Kind::Devices, user).await
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.delete(Kind::Devices, user).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        self.get(Kind::Group, group_jid).await
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        self.put(Kind::Group, group_jid, blob).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.delete(Kind::Group, group_jid).await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.get_json(Kind::Token, jid).await
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.put_json(Kind::Token, jid, entry).await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.delete(Kind::Token, jid).await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        let all = self.read(|entries| entries.beginning_with(Kind::Token, &[])).await?;
        Ok(all.iter().map(|(name, _)| last(name)).collect())
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        self.write(move |entries| {
            let mut deleted = 0;
            for (name, value) in entries.beginning_with(Kind::Token, &[])? {
                let entry: TcTokenEntry = from_json(&value)?;
                let received = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
                if !received && entry.sender_timestamp.is_none_or(|at| at < sender_cutoff) {
                    entries.delete(Kind::Token, &name)?;
                    deleted += 1;
                }
            }
            Ok(deleted)
        })
        .await
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        let jid = jid.to_owned();
        self.write(move |entries| {
            let known = token(entries, &jid)?;
            let mut entry = known.unwrap_or(TcTokenEntry { token: Vec::new(), token_timestamp: sender_timestamp, sender_timestamp: None });
            entry.sender_timestamp = entry.sender_timestamp.max(Some(sender_timestamp));
            entries.put(Kind::Token, jid.as_bytes(), &to_json(&entry)?, 0)
        })
        .await
    }

    async fn store_received_tc_token(&self, jid: &str, received: &[u8], token_timestamp: i64) -> Result<()> {
        let (jid, received) = (jid.to_owned(), received.to_vec());
        self.write(move |entries| {
            let known = token(entries, &jid)?;
            if known.as_ref().is_some_and(|known| !known.token.is_empty() && token_timestamp < known.token_timestamp) {
                return Ok(());
            }
            let sender_timestamp = known.and_then(|known| known.sender_timestamp);
            let entry = TcTokenEntry { token: received, token_timestamp, sender_timestamp };
            entries.put(Kind::Token, jid.as_bytes(), &to_json(&entry)?, 0)
        })
        .await
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()> {
        let (name, payload, now) = (name(&[chat_jid, message_id]), payload.to_vec(), now_secs());
        self.write(move |entries| {
            entries.put(Kind::Sent, &name, &payload, now)?;
            entries.keep_newest(Kind::Sent, SENT_MAX)
        })
        .await
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        let name = name(&[chat_jid, message_id]);
        self.write(move |entries| {
            let payload = entries.get(Kind::Sent, &name)?;
            entries.delete(Kind::Sent, &name)?;
            Ok(payload)
        })
        .await
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.delete_before(Kind::Sent, cutoff_timestamp).await
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        self.store_pending_inbound_batch(&[PendingInboundRow { chat, sender, id, message }]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        self.get(Kind::Pending, name(&[chat, sender, id])).await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.delete(Kind::Pending, name(&[chat, sender, id])).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.delete_before(Kind::Pending, cutoff_timestamp).await
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let now = now_secs();
        let rows: Vec<_> = rows.iter().map(|row| (name(&[row.chat, row.sender, row.id]), row.message.to_vec())).collect();
        self.write(move |entries| rows.iter().try_for_each(|(name, message)| entries.put(Kind::Pending, name, message, now))).await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        let names: Vec<_> = keys.iter().map(|key| name(&[key.chat, key.sender, key.id])).collect();
        self.write(move |entries| names.iter().try_for_each(|name| entries.delete(Kind::Pending, name))).await
    }
}
