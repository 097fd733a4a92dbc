//! Leases: which of several processes may do a thing, for how long, by the clock of the database.
//!
//! Every holding has a number, the epoch, which only grows. A lease saves work; what makes it safe is that whoever
//! writes shows its epoch in the same transaction, and that nobody sends anything after `until`, which is counted on
//! the holder's own monotonic clock from before the statement was sent. No lock of a session is used: a pooler gives
//! another session each time. Serves `keeper`.

use std::time::Duration;

use tokio::time::Instant;

use super::fault::Trouble;
use super::sql::{self, Connection};

/// For how long a lease is given.
pub const TTL: Duration = Duration::from_secs(15);

/// How often its holder asks for more.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How long before the database's own end of it the holder stops to count on it.
pub const MARGIN: Duration = Duration::from_secs(3);

/// What only one process may do at a time: write to the journal.
pub const WRITER: &str = "writer";

/// One holding of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub resource: String,
    /// The number of this holding: every later one has a higher number.
    pub epoch: i64,
    /// Who holds it: a name that no other process has.
    pub holder: String,
    /// From then on its holder does nothing more that rests on it.
    pub until: Instant,
}

impl Lease {
    /// Whether it is the same holding, whatever the time until which it is good.
    pub(super) fn same_as(&self, other: &Lease) -> bool {
        (&self.resource, self.epoch, &self.holder) == (&other.resource, other.epoch, &other.holder)
    }
}

/// What a lease that was asked for now is good for, on the asker's clock.
fn good_until(asked_at: Instant) -> Instant {
    asked_at + (TTL - MARGIN)
}

/// In milliseconds, as the database is told.
fn ttl() -> i64 {
    i64::try_from(TTL.as_millis()).unwrap_or(i64::MAX)
}

/// Whether somebody holds the resource at this moment. Locks nothing.
pub(super) async fn is_held(connection: &mut Connection, resource: &str) -> Result<bool, Trouble> {
    let row = sql::query("SELECT expires_at > clock_timestamp() AS held FROM leases WHERE resource = $1");
    let row = row.bind(resource).first(connection).await?;
    row.map_or(Ok(false), |row| row.get("held").ok_or(Trouble::Row("leases")))
}

/// Takes the resource if it is free or its lease has expired; the caller commits.
pub(super) async fn take(
    connection: &mut Connection,
    resource: &str,
    holder: &str,
) -> Result<Option<Lease>, Trouble> {
    let asked_at = Instant::now();
    let epoch = sql::query(
        "INSERT INTO leases (resource, epoch, holder, expires_at)
         VALUES ($1, 1, $2, clock_timestamp() + $3 * interval '1 millisecond')
         ON CONFLICT (resource) DO UPDATE SET
             epoch = leases.epoch + 1, holder = excluded.holder,
             expires_at = clock_timestamp() + $3 * interval '1 millisecond'
         WHERE leases.expires_at <= clock_timestamp()
         RETURNING epoch",
    )
    .bind(resource)
    .bind(holder)
    .bind(ttl())
    .number(connection, "leases")
    .await?;
    Ok(epoch.map(|epoch| Lease {
        resource: resource.to_owned(),
        epoch,
        holder: holder.to_owned(),
        until: good_until(asked_at),
    }))
}

/// The same lease for longer; `None` where it has expired or is somebody else's by now. The caller commits.
pub(super) async fn renew(connection: &mut Connection, lease: &Lease) -> Result<Option<Lease>, Trouble> {
    let asked_at = Instant::now();
    let renewed = sql::query(
        "UPDATE leases SET expires_at = clock_timestamp() + $4 * interval '1 millisecond'
         WHERE resource = $1 AND epoch = $2 AND holder = $3 AND expires_at > clock_timestamp()",
    );
    let renewed = named(renewed, lease).bind(ttl()).execute(connection).await?;
    Ok((renewed == 1).then(|| Lease { until: good_until(asked_at), ..lease.clone() }))
}

/// Lets it go, so that nobody need wait for its end. Whether it was still ours. The caller commits.
pub(super) async fn release(connection: &mut Connection, lease: &Lease) -> Result<bool, Trouble> {
    let released = sql::query(
        "UPDATE leases SET expires_at = clock_timestamp()
         WHERE resource = $1 AND epoch = $2 AND holder = $3 AND expires_at > clock_timestamp()",
    );
    Ok(named(released, lease).execute(connection).await? == 1)
}

/// Whether it is ours at this moment. Locks nothing.
pub(super) async fn is_ours(connection: &mut Connection, lease: &Lease) -> Result<bool, Trouble> {
    let row = sql::query(
        "SELECT epoch FROM leases
         WHERE resource = $1 AND epoch = $2 AND holder = $3 AND expires_at > clock_timestamp()",
    );
    Ok(named(row, lease).first(connection).await?.is_some())
}

/// Holds the row until the end of the transaction, so that a take-over waits for it; a fault where the lease is not ours
/// any more.
pub(super) async fn hold(connection: &mut Connection, lease: &Lease) -> Result<(), Trouble> {
    let row = sql::query(
        "SELECT epoch FROM leases
         WHERE resource = $1 AND epoch = $2 AND holder = $3 AND expires_at > clock_timestamp() FOR UPDATE",
    );
    match named(row, lease).first(connection).await? {
        Some(_) => Ok(()),
        None => Err(Trouble::Superseded),
    }
}

/// Begins a lease whose row is held anew: judging a long record may take longer than a lease lasts, and nobody could take
/// it meanwhile. It gets this number, which is higher where a journal was put back and counts from below.
pub(super) async fn settle(connection: &mut Connection, lease: &Lease, epoch: i64) -> Result<Lease, Trouble> {
    let asked_at = Instant::now();
    let settled = sql::query(
        "UPDATE leases SET epoch = $4, expires_at = clock_timestamp() + $5 * interval '1 millisecond'
         WHERE resource = $1 AND epoch = $2 AND holder = $3",
    );
    match named(settled, lease).bind(epoch).bind(ttl()).execute(connection).await? {
        1 => Ok(Lease { epoch, until: good_until(asked_at), ..lease.clone() }),
        _ => Err(Trouble::Superseded),
    }
}

fn named<'q>(query: sql::Query<'q>, lease: &'q Lease) -> sql::Query<'q> {
    query.bind(&lease.resource).bind(lease.epoch).bind(&lease.holder)
}
