//! How a process becomes the one writer of a shared journal, stays it, and lets go; and what it notices meanwhile.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::super::lease::{self, Lease};
use super::super::{Mode, Operation, StoreFault, evidence, opening, postgres};
use super::{Back, Connection, Opened, Purpose, Seen, Stand, Store, Trouble, Witnesses, Writing, locked};
use crate::moment::Timestamp;

impl Store {
    /// Whether several processes may have it open, so that there are turns of writing to it.
    pub fn is_shared(&self) -> bool {
        matches!(self.back, Back::Server(_))
    }

    /// Whether a process leads at this moment: it holds the lease of a shared journal.
    pub async fn is_led(&self) -> Result<bool, StoreFault> {
        let look = async |connection: &mut Connection| lease::is_held(connection, lease::WRITER).await;
        self.run(&self.aside, Operation::Load, Some(Purpose::Look), look).await
    }

    /// The fault of whoever wanted to write while somebody else does.
    pub fn is_taken(&self) -> StoreFault {
        self.told(Trouble::Taken, Operation::Open)
    }

    /// Whether what rests on this journal may still leave, by our own clock alone: the lease, where there is one, is not
    /// over.
    pub fn vouches(&self) -> bool {
        let in_time = |lease: &Lease| Instant::now() < lease.until;
        match &self.back {
            Back::File(_) => true,
            Back::Server(_) => {
                locked(&self.writing).as_ref().and_then(|writing| writing.lease.as_ref()).is_some_and(in_time)
            }
        }
    }

    /// Takes this resource for this holder, if nobody has it. The holder's name is that of one process.
    pub async fn take(&self, resource: &str, holder: &str) -> Result<Option<Lease>, StoreFault> {
        let look = async |connection: &mut Connection| {
            self.observe(connection).await?;
            lease::is_held(connection, resource).await
        };
        if self.run(&self.aside, Operation::Load, Some(Purpose::Look), look).await? {
            return Ok(None);
        }
        self.run(&self.aside, Operation::Write, Some(Purpose::Write), async |connection: &mut Connection| {
            let taken = lease::take(connection, resource, holder).await?;
            connection.commit().await?;
            Ok(taken)
        })
        .await
    }

    /// The same lease for longer; `None` where it is over, or good for nothing: who found that the journal is not the one
    /// that it left writes nothing more with it, and must not keep the next writer away.
    pub async fn renew(&self, lease: &Lease) -> Result<Option<Lease>, StoreFault> {
        if self.superseded.load(Ordering::Acquire) {
            return Ok(None);
        }
        let renewed = self
            .run(&self.aside, Operation::Write, Some(Purpose::Write), async |connection: &mut Connection| {
                let renewed = lease::renew(connection, lease).await?;
                connection.commit().await?;
                Ok(renewed)
            })
            .await?;
        if let Some(renewed) = &renewed
            && let Some(ours) = locked(&self.writing).as_mut().and_then(|writing| writing.lease.as_mut())
            && ours.same_as(renewed)
        {
            ours.until = renewed.until;
        }
        Ok(renewed)
    }

    /// Lets it go. Whether it was still ours. Who wrote with it writes nothing more.
    pub async fn release(&self, lease: &Lease) -> Result<bool, StoreFault> {
        locked(&self.writing)
            .take_if(|writing| writing.lease.as_ref().is_some_and(|ours| ours.same_as(lease)));
        self.run(&self.aside, Operation::Write, Some(Purpose::Write), async |connection: &mut Connection| {
            let released = lease::release(connection, lease).await?;
            connection.commit().await?;
            Ok(released)
        })
        .await
    }

    /// Becomes the writer with this lease: judges what this journal is to the one that was seen before, counts the
    /// opening and records it. `now` is when, for the record. The lease that comes back is the one to renew.
    pub async fn lead(&self, lease: &Lease, now: Timestamp) -> Result<Lease, StoreFault> {
        if self.mode == Mode::Read {
            return Err(self.read_only());
        }
        let identity = self.run(&self.connection, Operation::Open, None, postgres::identity).await?;
        let (head, elsewhere) = {
            let seen = locked(&self.seen);
            (seen.head.clone(), identity.is_elsewhere(&seen.identity))
        };
        let witnesses = Witnesses { head, key: false, elsewhere };
        let (lease, opened) = self
            .run(
                &self.connection,
                Operation::Open,
                Some(Purpose::Write),
                async |connection: &mut Connection| {
                    let succeeded = opening::succeed(connection, lease, &witnesses, now).await?;
                    connection.commit().await?;
                    Ok(succeeded)
                },
            )
            .await?;
        *locked(&self.seen) = Seen { head: Some(opened.head.clone()), identity };
        let Opened { epoch, past, head } = opened;
        *locked(&self.writing) =
            Some(Writing { epoch, past, stand: Stand::new(head, None), lease: Some(lease.clone()) });
        self.superseded.store(false, Ordering::Release);
        Ok(lease)
    }

    /// Looks how far a shared journal goes, if it has all that was seen of it.
    async fn observe(&self, connection: &mut Connection) -> Result<(), Trouble> {
        let known = locked(&self.seen).head.clone();
        if let Some(known) = known
            && !evidence::holds(connection, &known).await?
        {
            return Ok(());
        }
        let tail = evidence::tail(connection).await?;
        locked(&self.seen).rise_to(&tail);
        Ok(())
    }
}
