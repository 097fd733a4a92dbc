//! The clockwork: tokio-cron-scheduler turns cron expressions into ticks for the round loop, and does nothing else.
//!
//! One scheduler a process, one job for each distinct expression; a job only puts a tick into a bounded queue.
//! The next occurrence is computed here, by croner with the real zone, because the scheduler freezes a zone to
//! the offset of the day on which a job was made.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use tokio::sync::mpsc;
use tokio_cron_scheduler::job::job_data::{JobAndNextTick, JobStoredData};
use tokio_cron_scheduler::store::{DataStore, InitStore};
use tokio_cron_scheduler::{
    Job, JobScheduler, JobSchedulerError, MetaDataStorage, SimpleJobCode, SimpleMetadataStore,
    SimpleNotificationCode, SimpleNotificationStore,
};
use uuid::Uuid;

use crate::config::Schedule;
use crate::moment::Timestamp;
use crate::round::Event;
use crate::schedule::{self, Classes};

use super::Fault;
use super::clock::wall_now;

/// Which expression, in which zone, a job follows.
type Expressions = Arc<Mutex<HashMap<Uuid, (Cron, Tz)>>>;
type Answer<T> = Pin<Box<dyn Future<Output = Result<T, JobSchedulerError>> + Send>>;

/// Activations that the scheduler's own channel can hold; there are at most three jobs.
const CHANNEL: usize = 256;

/// The scheduler's memory of its jobs, with next occurrences that follow the zone.
struct ZoneStore {
    inner: SimpleMetadataStore,
    expressions: Expressions,
}

impl DataStore<JobStoredData> for ZoneStore {
    fn get(&mut self, id: Uuid) -> Answer<Option<JobStoredData>> {
        self.inner.get(id)
    }

    fn add_or_update(&mut self, data: JobStoredData) -> Answer<()> {
        self.inner.add_or_update(data)
    }

    fn delete(&mut self, id: Uuid) -> Answer<()> {
        self.expressions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.inner.delete(id)
    }
}

impl InitStore for ZoneStore {
    fn init(&mut self) -> Answer<()> {
        self.inner.init()
    }

    fn inited(&mut self) -> Answer<bool> {
        self.inner.inited()
    }
}

impl MetaDataStorage for ZoneStore {
    fn list_next_ticks(&mut self) -> Answer<Vec<JobAndNextTick>> {
        self.inner.list_next_ticks()
    }

    fn set_next_and_last_tick(
        &mut self,
        id: Uuid,
        next: Option<DateTime<Utc>>,
        last: Option<DateTime<Utc>>,
    ) -> Answer<()> {
        let expressions = self.expressions.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match expressions.get(&id) {
            Some((cron, zone)) => {
                let after = last.map_or_else(wall_now, |last| Timestamp(last.timestamp_millis()));
                schedule::next(cron, *zone, after).map(Timestamp::to_utc)
            }
            None => next,
        };
        drop(expressions);
        self.inner.set_next_and_last_tick(id, next, last)
    }

    fn time_till_next_job(&mut self) -> Answer<Option<Duration>> {
        self.inner.time_till_next_job()
    }
}

/// The running clockwork.
pub(super) struct Ticks {
    scheduler: JobScheduler,
    expressions: Expressions,
    jobs: BTreeMap<String, Uuid>,
    schedule: Option<Schedule>,
    events: mpsc::Sender<Event>,
}

fn fault(error: &JobSchedulerError) -> Fault {
    Fault::Internal(format!("the scheduler failed ({error})"))
}

impl Ticks {
    /// Starts with no jobs.
    pub(super) async fn start(events: mpsc::Sender<Event>) -> Result<Ticks, Fault> {
        let expressions: Expressions = Arc::default();
        let store = ZoneStore { inner: SimpleMetadataStore::default(), expressions: expressions.clone() };
        let scheduler = JobScheduler::new_with_storage_and_code(
            Box::new(store),
            Box::new(SimpleNotificationStore::default()),
            Box::new(SimpleJobCode::default()),
            Box::new(SimpleNotificationCode::default()),
            CHANNEL,
        )
        .await
        .map_err(|error| fault(&error))?;
        scheduler.start().await.map_err(|error| fault(&error))?;
        Ok(Ticks { scheduler, expressions, jobs: BTreeMap::new(), schedule: None, events })
    }

    /// Follows this schedule from now on. Jobs are removed and added one after the other: the scheduler loses
    /// track when many come at once.
    pub(super) async fn follow(&mut self, schedule: &Schedule) -> Result<(), Fault> {
        if self.schedule.as_ref() == Some(schedule) {
            return Ok(());
        }
        for id in std::mem::take(&mut self.jobs).into_values() {
            self.scheduler.remove(&id).await.map_err(|error| fault(&error))?;
        }
        for (expression, classes) in schedule::jobs(schedule) {
            let id = self.add(&expression, schedule.timezone, classes).await?;
            self.jobs.insert(expression, id);
        }
        self.schedule = Some(schedule.clone());
        Ok(())
    }

    async fn add(&self, expression: &str, zone: Tz, classes: Classes) -> Result<Uuid, Fault> {
        let cron = schedule::cron(expression)
            .ok_or_else(|| Fault::Usage(format!("schedule: '{expression}' is not a cron expression")))?;
        let events = self.events.clone();
        let job = Job::new_async_tz(expression, zone, move |_, _| {
            let events = events.clone();
            Box::pin(async move {
                // When the queue is full the loop has more due than it can do; the next tick comes by itself.
                let _ = events.try_send(Event::Due(classes));
            })
        })
        .map_err(|error| fault(&error))?;
        let id = job.guid();
        self.expressions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (cron, zone));
        self.scheduler.add(job).await.map_err(|error| fault(&error))?;
        Ok(id)
    }

    /// Ends the clockwork; ticks that are under way may still come.
    pub(super) async fn stop(mut self) {
        // It returns at once and awaits nothing; there is nothing of ours in it that could be lost.
        let _ = self.scheduler.shutdown().await;
    }
}
