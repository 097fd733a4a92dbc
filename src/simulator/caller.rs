//! Who a request comes from: nobody, a token of the world, or a secret that is refused.
//! Knows what makes a token unusable altogether; knows nothing of what a usable one may do.
//! Serves the hub, which asks it once for each request.

use chrono::DateTime;
use chrono::Utc;

use crate::simulator::answer::Answer;
use crate::simulator::world::Token;
use crate::simulator::world::World;

/// A token of the world with the name it has there.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) token: Token,
}

#[derive(Clone, Debug)]
pub(super) enum Caller {
    Anonymous,
    /// With the holder where the secret is a known but unusable one.
    Refused(String, Option<Holder>),
    Known(Holder),
}

impl Caller {
    pub(super) fn identify(world: &World, authorization: Option<&str>, now: DateTime<Utc>) -> Caller {
        let Some(authorization) = authorization else { return Caller::Anonymous };
        let refused = |text: &str, holder| Caller::Refused(text.to_owned(), holder);
        let secret = match authorization.split_once(' ') {
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => secret.trim(),
            _ => return refused("Invalid credentials in Authorization header", None),
        };
        let Some((name, token)) = world.tokens.iter().find(|(_, token)| token.secret.0 == secret) else {
            return refused("Invalid username or password.", None);
        };
        let holder = Holder { name: name.clone(), token: world.usable(token) };
        if !token.alive {
            return refused("Invalid username or password.", Some(holder));
        }
        if token.expires_at.is_some_and(|at| at.0 <= now) {
            return refused(&format!("User Access Token \"{name}\" is expired"), Some(holder));
        }
        Caller::Known(holder)
    }

    /// Who stands behind the secret, usable or not.
    pub(super) fn holder(&self) -> Option<&Holder> {
        match self {
            Caller::Known(holder) | Caller::Refused(_, Some(holder)) => Some(holder),
            Caller::Anonymous | Caller::Refused(_, None) => None,
        }
    }

    /// The holder for what anybody may ask; a secret that is refused is refused there as well.
    pub(super) fn optional(&self) -> Result<Option<&Holder>, Answer> {
        match self {
            Caller::Anonymous => Ok(None),
            Caller::Known(holder) => Ok(Some(holder)),
            Caller::Refused(text, _) => Err(Answer::unauthorized(text)),
        }
    }

    pub(super) fn required(&self) -> Result<&Holder, Answer> {
        self.optional()?.ok_or_else(Answer::unauthenticated)
    }
}
