//! How the one writer of a shared journal lets others send questions for it, and how they do.

use std::time::Duration;

use super::super::{Claimed, Helper, Helpers, Offer, Operation, StoreFault, errands};
use super::{Connection, Purpose, Store, Trouble, locked};

impl Store {
    /// Of the leader: offers these to helpers of this likeness, and takes out what came back.
    pub async fn offer(&self, likeness: &str, offers: &[Offer]) -> Result<Vec<(i64, String)>, StoreFault> {
        let epoch = self.epoch_of_ours()?;
        self.passing(async |connection: &mut Connection| {
            if !offers.is_empty() {
                errands::offer(connection, epoch, likeness, offers).await?;
            }
            errands::collect(connection, epoch).await
        })
        .await
    }

    /// Of the leader: who could carry errands, and what it takes back because nobody carried it. `patience` is for one that
    /// was claimed, from when it was offered.
    pub async fn attend(
        &self,
        likeness: &str,
        patience: Duration,
    ) -> Result<(Helpers, Vec<i64>), StoreFault> {
        let epoch = self.epoch_of_ours()?;
        self.passing(async |connection: &mut Connection| {
            let back = errands::take_back(connection, epoch, patience).await?;
            Ok((errands::helpers(connection, likeness).await?, back))
        })
        .await
    }

    /// Of a helper: it is there, this is what errands of which epoch and number came to, and it claims `most` more.
    pub async fn help(
        &self,
        helper: &Helper,
        answers: &[(i64, i64, String)],
        most: usize,
    ) -> Result<Vec<Claimed>, StoreFault> {
        self.passing(async |connection: &mut Connection| {
            if !answers.is_empty() {
                errands::answer(connection, helper, answers).await?;
            }
            errands::present(connection, helper).await?;
            match most {
                0 => Ok(Vec::new()),
                most => errands::claim(connection, helper, most).await,
            }
        })
        .await
    }

    fn epoch_of_ours(&self) -> Result<i64, StoreFault> {
        let epoch = locked(&self.writing).as_ref().map(|writing| writing.epoch);
        epoch.ok_or_else(|| self.told(Trouble::Superseded, Operation::Write))
    }

    /// Over a connection of its own, and not waiting for the disk.
    async fn passing<T, F>(&self, call: F) -> Result<T, StoreFault>
    where
        F: AsyncFnOnce(&mut Connection) -> Result<T, Trouble>,
    {
        self.run(&self.errands, Operation::Write, Some(Purpose::Pass), async |connection: &mut Connection| {
            let done = call(connection).await?;
            connection.commit().await?;
            Ok(done)
        })
        .await
    }
}
