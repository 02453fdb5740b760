//! What is done before the service manager starts the program, which does not start without one of its ports: a slot port
//! that somebody else has by then is left out.

use std::time::Duration;

use super::{External, door, slot_ports};
use crate::proxy::answers::ClosedPort;
use crate::proxy::error::ProxyError;

/// How long the program may take to answer, where it runs after all.
const ANSWERS: Duration = Duration::from_secs(2);

impl External {
    /// Leaves out of the configuration the slot ports that somebody else has, and puts back those that were left out and
    /// are free. Gives what is left out. Where the program runs, nothing is touched: the ports are its own.
    ///
    /// # Errors
    /// When the configuration cannot be read or written.
    pub async fn before_start(&self) -> Result<Vec<ClosedPort>, ProxyError> {
        if !self.is_flipping() {
            return Ok(Vec::new());
        }
        let _changing = self.lock().await?;
        let Some(mut kept) = self.kept_already()? else {
            return Ok(Vec::new());
        };
        let configuration = self.configuration(kept.door);
        let Some(former) = configuration.read()? else {
            return Ok(Vec::new());
        };
        let answers = tokio::time::timeout(ANSWERS, configuration.version(&kept.check)).await;
        if matches!(answers, Ok(Ok(_))) {
            return Ok(Vec::new());
        }
        let listen = self.settings.slot_listen;
        kept.closed = slot_ports::taken(&kept, "", listen, |_| true, slot_ports::AT_A_FLIP).await;
        kept.door = Some(door::choose(kept.door, &self.state, &kept.check).await);
        let text = self.view(&kept).text()?;
        if text != former {
            self.configuration(kept.door).write(&text)?;
            self.keep(&kept)?;
        }
        Ok(slot_ports::told(&kept, listen))
    }
}
