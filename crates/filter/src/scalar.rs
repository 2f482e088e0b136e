//! Values that are neither arrays nor objects, in the order in which they compare.

use serde_json::{Number, Value};

use crate::{Fields, Subject, operand::Exact};

/// A value that is neither array nor object. Variants are in order, so that the values of one
/// type lie together: nothing, truth values, numbers by value, texts byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scalar(pub(crate) Kind);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Exact),
    Text(Box<str>),
}

impl Scalar {
    /// The scalar that a value is; none if it is an array or an object.
    pub fn of(value: &Value) -> Option<Self> {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(*value),
            Value::Number(number) => Kind::Number(Exact::of(number)),
            Value::String(text) => Kind::Text(text.as_str().into()),
            Value::Array(_) | Value::Object(_) => return None,
        };
        Some(Self(kind))
    }

    pub(crate) fn text(text: &str) -> Self {
        Self(Kind::Text(text.into()))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0 == Kind::Null
    }

    /// The value; numbers that are equal have one form, integers where they are integers.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.0 {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => number.to_number().map_or(Value::Null, Value::Number),
            Kind::Text(text) => Value::String(text.to_string()),
        }
    }

    /// Bytes beside the value itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Kind::Text(text) => text.len(),
            _ => 0,
        }
    }
}

impl Exact {
    fn to_number(self) -> Option<Number> {
        let integer = self.integer();
        if let Some(integer) = integer {
            if let Ok(integer) = i64::try_from(integer) {
                return Some(integer.into());
            }
            if let Ok(integer) = u64::try_from(integer) {
                return Some(integer.into());
            }
        }
        Number::from_f64(self.rounded())
    }
}

impl Fields<'_> {
    /// Calls with each scalar that a record has for a property, and each that is an element of an
    /// array there: the values that filters compare, where they are scalars.
    pub fn scalars(&self, subject: &Subject, visit: &mut dyn FnMut(Scalar)) {
        match subject {
            Subject::Kind => visit(Scalar::text(self.kind)),
            Subject::Region => {
                if let Some(region) = self.region {
                    visit(Scalar::text(region));
                }
            }
            Subject::Metadata(path) => {
                let Some((first, rest)) = path.split_first() else { return };
                if let Some(value) = self.metadata.get(first) {
                    at(value, rest, visit);
                }
            }
        }
    }

    /// The scalar that a record has for a property, unless it is null, a list or an object, or
    /// within a list.
    #[must_use]
    pub fn only_scalar(&self, subject: &Subject) -> Option<Scalar> {
        match subject {
            Subject::Kind => Some(Scalar::text(self.kind)),
            Subject::Region => self.region.map(Scalar::text),
            Subject::Metadata(path) => {
                let (first, rest) = path.split_first()?;
                let mut value = self.metadata.get(first)?;
                for name in rest {
                    value = value.as_object()?.get(name)?;
                }
                Scalar::of(value).filter(|scalar| !scalar.is_null())
            }
        }
    }
}

/// Arrays on the way are entered, one level deep, as in a filter.
fn at(value: &Value, path: &[String], visit: &mut dyn FnMut(Scalar)) {
    let Some((first, rest)) = path.split_first() else {
        match value {
            Value::Array(elements) => elements.iter().filter_map(Scalar::of).for_each(visit),
            value => Scalar::of(value).into_iter().for_each(visit),
        }
        return;
    };
    match value {
        Value::Object(object) => {
            if let Some(value) = object.get(first) {
                at(value, rest, visit);
            }
        }
        Value::Array(elements) => {
            for object in elements.iter().filter_map(Value::as_object) {
                if let Some(value) = object.get(first) {
                    at(value, rest, visit);
                }
            }
        }
        _ => {}
    }
}
