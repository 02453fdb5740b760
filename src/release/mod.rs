//! `receive → checkout → build → push → pull → start → probe → flip → drain → retire → record`
