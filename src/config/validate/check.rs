//! The checks of a file's values: what they need to know, and what they found.

use std::borrow::Borrow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::super::fault::Finding;
use super::super::file::Field;
use super::super::refusal::Refusal;
use super::words;

/// What the checks need to know, and what they found.
pub(super) struct Check<'a> {
    pub(super) folder: &'a Path,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    /// Nothing is found yet; relative paths start at `folder`.
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            findings: Vec::new(),
        }
    }

    /// `settings`, unless something was found.
    pub(super) fn finish<T>(self, settings: T) -> Result<T, Vec<Finding>> {
        match self.findings.is_empty() {
            true => Ok(settings),
            false => Err(self.findings),
        }
    }

    pub(super) fn refuse<T>(&mut self, at: &Spanned<T>, refusal: Refusal) {
        self.refuse_span(at.span(), refusal);
    }

    pub(super) fn refuse_span(&mut self, span: Range<usize>, refusal: Refusal) {
        self.findings.push(Finding { span, refusal });
    }

    /// What `read` makes of the value; a refusal is a fault at its place.
    pub(super) fn read<T, B, R>(
        &mut self,
        from: &Spanned<T>,
        read: impl FnOnce(&B) -> Result<R, Refusal>,
    ) -> Option<R>
    where
        T: Borrow<B>,
        B: ?Sized,
    {
        read(from.get_ref().borrow())
            .map_err(|refusal| self.refuse(from, refusal))
            .ok()
    }

    /// Puts what `read` makes of the value in place of the default, where the key is there.
    pub(super) fn set<T, B, R>(
        &mut self,
        to: &mut R,
        from: &Field<T>,
        read: impl FnOnce(&B) -> Result<R, Refusal>,
    ) where
        T: Borrow<B>,
        B: ?Sized,
    {
        if let Some(value) = from.as_ref().and_then(|from| self.read(from, read)) {
            *to = value;
        }
    }

    /// As `set`, where the default is nothing.
    pub(super) fn set_some<T, B, R>(
        &mut self,
        to: &mut Option<R>,
        from: &Field<T>,
        read: impl FnOnce(&B) -> Result<R, Refusal>,
    ) where
        T: Borrow<B>,
        B: ?Sized,
    {
        self.set(to, from, |value: &B| read(value).map(Some));
    }

    /// A path on the server; a relative one starts at the file's folder.
    pub(super) fn path(&mut self, to: &mut PathBuf, from: &Field<String>) {
        let folder = self.folder.to_path_buf();
        self.set(to, from, |text: &str| {
            words::host_path(text).map(|text| folder.join(text))
        });
    }
}
