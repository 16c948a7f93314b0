//! The device itself.

use whatsapp_rust::async_trait;
use whatsapp_rust::traits::DeviceStore;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::error::Result;

use super::{Kind, Store, to_json};

/// There is one device in a database.
const ID: i32 = 1;

#[async_trait]
impl DeviceStore for Store {
    async fn save(&self, device: &Device) -> Result<()> {
        self.put_json(Kind::Device, "", device).await
    }

    async fn load(&self) -> Result<Option<Device>> {
        self.get_json(Kind::Device, "").await
    }

    async fn exists(&self) -> Result<bool> {
        Ok(self.get(Kind::Device, "").await?.is_some())
    }

    async fn create(&self) -> Result<i32> {
        let fresh = to_json(&Device::new())?;
        self.write(move |entries| match entries.get(Kind::Device, &[])? {
            Some(_) => Ok(ID),
            None => entries.put(Kind::Device, &[], &fresh, 0).map(|()| ID),
        })
        .await
    }
}
