//! Values that operators keep at the name server, by namespace and key.

use std::collections::BTreeMap;

use super::answer::Refusal;
use super::options;
use crate::base::limits::{
    NAMESRV_KEY_BYTES_MAX, NAMESRV_NAMESPACES_MAX, NAMESRV_VALUE_BYTES_MAX,
    NAMESRV_VALUES_BYTES_MAX, NAMESRV_VALUES_MAX,
};
use crate::wire::code::response;

/// A change of the values, to be kept by the name server's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueChange {
    Put { namespace: String, key: String, value: String },
    Delete { namespace: String, key: String },
}

/// A namespace stays when its last value goes, as in Apache's; a restart forgets it.
#[derive(Default)]
pub(super) struct ValueTable {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    count: usize,
    /// Of all keys and values together.
    bytes: usize,
}

impl ValueTable {
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), Refusal> {
        self.check(namespace, key, value)?;
        let values = self.namespaces.entry(namespace.to_owned()).or_default();
        match values.insert(key.to_owned(), value.to_owned()) {
            Some(old) => self.bytes -= old.len(),
            None => {
                self.count += 1;
                self.bytes += key.len();
            }
        }
        self.bytes += value.len();
        Ok(())
    }

    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        Some(self.namespaces.get(namespace)?.get(key)?)
    }

    pub fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    /// True if there was such a value.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        let values = self.namespaces.get_mut(namespace);
        let Some(old) = values.and_then(|values| values.remove(key)) else { return false };
        self.count -= 1;
        self.bytes -= key.len() + old.len();
        true
    }

    fn check(&self, namespace: &str, key: &str, value: &str) -> Result<(), Refusal> {
        if namespace == options::NAMESPACE {
            let remark = format!("the namespace {namespace} is the name server's own");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        for (what, text, limit) in [
            ("bytes of a namespace's name", namespace, NAMESRV_KEY_BYTES_MAX),
            ("bytes of a key", key, NAMESRV_KEY_BYTES_MAX),
            ("bytes of a value", value, NAMESRV_VALUE_BYTES_MAX),
        ] {
            if text.len() > limit {
                return Err(Refusal::over(what, limit));
            }
        }
        let is_new_namespace = !self.namespaces.contains_key(namespace);
        if is_new_namespace && self.namespaces.len() >= NAMESRV_NAMESPACES_MAX {
            return Err(Refusal::over("namespaces", NAMESRV_NAMESPACES_MAX));
        }
        if self.get(namespace, key).is_none() && self.count >= NAMESRV_VALUES_MAX {
            return Err(Refusal::over("values", NAMESRV_VALUES_MAX));
        }
        if self.bytes + key.len() + value.len() > NAMESRV_VALUES_BYTES_MAX {
            return Err(Refusal::over("bytes of all values", NAMESRV_VALUES_BYTES_MAX));
        }
        Ok(())
    }
}

impl ValueChange {
    pub(super) fn put(namespace: &str, key: &str, value: &str) -> Self {
        Self::Put { namespace: namespace.to_owned(), key: key.to_owned(), value: value.to_owned() }
    }

    pub(super) fn delete(namespace: &str, key: &str) -> Self {
        Self::Delete { namespace: namespace.to_owned(), key: key.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_when_they_come_change_and_go() {
        let mut table = ValueTable::default();
        table.put("n", "key", "long value").unwrap();
        table.put("n", "key", "v").unwrap();
        assert_eq!((table.count, table.bytes), (1, 4));
        assert_eq!(table.get("n", "key"), Some("v"));
        assert!(table.delete("n", "key") && !table.delete("n", "key"));
        assert_eq!((table.count, table.bytes), (0, 0));
        assert!(table.namespace("n").is_some_and(BTreeMap::is_empty));
    }

    #[test]
    fn every_bound_refuses_and_changes_nothing() {
        let mut table = ValueTable::default();
        let long = "x".repeat(NAMESRV_VALUE_BYTES_MAX + 1);
        assert!(table.put(&long, "k", "v").is_err());
        assert!(table.put("n", &long, "v").is_err());
        assert!(table.put("n", "k", &long).is_err());
        assert!(table.put(options::NAMESPACE, "k", "v").is_err());
        assert!(table.namespaces.is_empty());
        let mut keys = 0;
        while table.put("n", &keys.to_string(), &long[1..]).is_ok() {
            keys += 1;
        }
        assert!(table.bytes <= NAMESRV_VALUES_BYTES_MAX && keys == table.count);
        for namespace in 1..NAMESRV_NAMESPACES_MAX {
            table.put(&format!("n{namespace}"), "k", "").unwrap();
        }
        assert!(table.put("one more", "k", "").is_err());
        table.put("n", "one more key", "").unwrap();
    }
}
