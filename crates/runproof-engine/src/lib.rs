//! What a run means and what happens next. Pure decisions inside, one driver that knows only ports.
//!
//! Reading order: [`plan`] (what is asked), [`run`] (state from events), [`decide`] (what follows), [`gate`] and
//! [`skill`] (how the world is touched), [`driver`] (the loop), [`projection`] (rows), [`replay`] (all of it again, from
//! a proof bundle).

pub mod admission;
pub mod audit;
pub mod codes;
pub mod decide;
pub mod draft;
pub mod driver;
pub mod expression;
pub mod gate;
pub mod plan;
pub mod planner;
pub mod ports;
pub mod projection;
pub mod redact;
pub mod reference;
pub mod replay;
pub mod run;
pub mod skill;
