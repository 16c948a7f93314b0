//! `users.*`: who is connected, and what that person's clients remember here.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use verso_proto::Json;
use verso_proto::edge::v1::{
    UserProfile, UsersPrefsGetRequest, UsersPrefsGetResponse, UsersPrefsSetRequest, UsersPrefsSetResponse, UsersSelfRequest,
    UsersSelfResponse,
};
use verso_protocol::{Code, ErrorShape};

use super::Local;
use crate::dispatch::Asking;
use crate::error::fault;
use crate::preferences::{Error, device_key, person_key};

/// Digits of a profile's id: enough to tell people apart, too few to guess a name from.
const PROFILE_ID_DIGITS: usize = 24;

pub(super) fn register(local: &mut Local) {
    local.on::<UsersSelfRequest, _, _>(|asking, _| async move { profile(&asking).await });
    local.on::<UsersPrefsGetRequest, _, _>(|asking, request| async move {
        let Some(owner) = owner(&asking) else {
            return Ok(UsersPrefsGetResponse { status: "no_durable_identity".to_owned(), entries: None });
        };
        let entries = Json { text: asking.gateway.preferences.get(&owner, &request.keys).await };
        Ok(UsersPrefsGetResponse { status: "ok".to_owned(), entries: Some(entries) })
    });
    local.on::<UsersPrefsSetRequest, _, _>(|asking, request| async move {
        let Some(owner) = owner(&asking) else { return Ok(UsersPrefsSetResponse { status: "no_durable_identity".to_owned() }) };
        let read = |(key, value): (String, Json)| RawValue::from_string(value.text).map(|value| (key, value));
        let changes: BTreeMap<_, _> = request.entries.into_iter().map(read).collect::<Result<_, _>>().map_err(|error| fault(&error))?;
        asking.gateway.preferences.set(&owner, changes).await?;
        Ok(UsersPrefsSetResponse { status: "ok".to_owned() })
    });
}

async fn profile(asking: &Asking) -> Result<UsersSelfResponse, ErrorShape> {
    let user = asking.outlet.principal.user.as_deref();
    let user = user.ok_or_else(|| ErrorShape::new(Code::Forbidden, "users.self requires an authenticated user"))?;
    let record = asking.gateway.preferences.record(&person_key(user)).await?;
    let id = hex::encode(Sha256::digest(user));
    Ok(UsersSelfResponse {
        profile: Some(UserProfile {
            id: format!("user-{}", &id[..PROFILE_ID_DIGITS]),
            display_name: Some(user.to_owned()),
            avatar_mime: None,
            merged_into: None,
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
            emails: if user.contains('@') { vec![user.to_owned()] } else { Vec::new() },
            has_avatar: false,
        }),
    })
}

/// Whose preferences the caller reads and changes; none for a client that will not be known again.
fn owner(asking: &Asking) -> Option<String> {
    let principal = &asking.outlet.principal;
    principal.user.as_deref().map(person_key).or_else(|| principal.device_id.as_deref().map(device_key))
}

impl From<Error> for ErrorShape {
    fn from(error: Error) -> Self {
        match error {
            Error::Save(_) => fault(&error),
            Error::TooManyChanges | Error::TooMany | Error::Key | Error::TooLarge(_) => Self::invalid(error.to_string()),
        }
    }
}
