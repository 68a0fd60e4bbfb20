//! Settings put together one by one: text for the calls that take settings, without a JSON writer in the caller.

use serde_json::{Map, Value};

use crate::{config::Config, error::Error};

/// Settings that are being put together.
#[derive(Default)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// Sets one, in place of what it was.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let value = Value::from(value);
        Config::default().set(name, &value)?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// Whether they are good, and the text.
    pub fn text(&self) -> Result<String, Error> {
        let text = Value::from(self.0.clone()).to_string();
        Config::from_text(&text).map(|_| text)
    }
}
