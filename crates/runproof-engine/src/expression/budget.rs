//! Bounds the work of an evaluation: operands are passed through functions that count what they hold.
//!
//! A text of 1,024 characters can double a value ninety times, or compare 64 KiB with themselves for each of a thousand
//! elements. What is read and what is made each have a budget. Both are counted in values, a text as one more for every
//! 64 bytes, so a result depends on no clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cel::common::ast::{CallExpr, Expr, LiteralValue};
use cel::common::types::{CelInt, CelList, CelMap, CelMapKey, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, DeclarationError, ExecutionError, FunctionContext, IdedExpr};

use super::MAX_LIST;

/// Values that operators and functions may go through: enough to look each of 1,000 elements up in 1,000 others.
const MAX_READ: u64 = 4_000_000;

/// Values that may be copied into new ones: texts of 16 MB in all.
const MAX_MADE: u64 = 250_000;

/// Bytes of text that count as much as a value.
const TEXT_UNIT: usize = 64;

/// The functions that count. No text can name them.
const READ: &str = "@read";
const MAKE: &str = "@make";
const SUMMAND: &str = "@summand";
const NUMBER: &str = "@number";
const ITEMS: &str = "@items";

/// Counts what an operator or function goes through.
pub(super) fn read(node: IdedExpr) -> IdedExpr {
    through(READ, node)
}

/// Counts what is copied into a new value.
pub(super) fn make(node: IdedExpr) -> IdedExpr {
    through(MAKE, node)
}

/// Counts what is copied into a sum, and refuses maps: the evaluator would add their keys to a list, in any order.
pub(super) fn summand(node: IdedExpr) -> IdedExpr {
    through(SUMMAND, node)
}

/// Refuses lists and maps where only a number can stand: the evaluator's own error would copy them, each time.
pub(super) fn number(node: IdedExpr) -> IdedExpr {
    through(NUMBER, node)
}

/// Counts what a macro goes through, `body` nodes for each element, and puts the keys of a map in order.
pub(super) fn items(node: IdedExpr, body: i64) -> IdedExpr {
    let body = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(body.into())) };
    call(ITEMS, vec![body, node])
}

fn through(function: &str, node: IdedExpr) -> IdedExpr {
    call(function, vec![node])
}

fn call(function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }) }
}

/// What is left of both budgets.
pub(crate) struct Budget {
    read: AtomicU64,
    made: AtomicU64,
    exceeded: AtomicBool,
}

/// A function that counts its last argument, as the evaluator calls it.
type Counter =
    Box<dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> + Send + Sync>;

impl Budget {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { read: MAX_READ.into(), made: MAX_MADE.into(), exceeded: false.into() })
    }

    /// Whether more was asked for than there was. An operator may have swallowed the error.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Declares the functions that count.
    pub(super) fn declare(self: &Arc<Self>, context: &mut Context) -> Result<(), DeclarationError> {
        context.add_function(READ, self.counter(|budget| &budget.read, unchanged))?;
        context.add_function(MAKE, self.counter(|budget| &budget.made, unchanged))?;
        context.add_function(SUMMAND, self.counter(|budget| &budget.made, no_map))?;
        context.add_function(NUMBER, self.counter(|budget| &budget.read, scalar))?;
        let (budget, count) = (Arc::clone(self), self.counter(|budget| &budget.read, in_order));
        let items: Counter = Box::new(move |call| {
            let items = count(call)?;
            let turns = items.as_sizer().map_or(0, |sizer| sizer.size().into_inner());
            let body = call.args.first().and_then(|body| body.downcast_ref::<CelInt>()).map_or(0, |body| *body.inner());
            budget.take(&budget.read, u64::try_from(turns.saturating_mul(body)).unwrap_or(u64::MAX))?;
            Ok(items)
        });
        context.add_function(ITEMS, items)
    }

    fn counter(
        self: &Arc<Self>,
        account: fn(&Self) -> &AtomicU64,
        then: for<'c, 'v> fn(CowVal<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError>,
    ) -> Counter {
        let budget = Arc::clone(self);
        Box::new(move |call| {
            let value = call.args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
            // Once exceeded, nothing is counted any more: counting is work too.
            let units = if budget.is_exceeded() { u64::MAX } else { units(value.as_ref()) };
            budget.take(account(&budget), units)?;
            then(value)
        })
    }

    fn take(&self, account: &AtomicU64, units: u64) -> Result<(), ExecutionError> {
        match account.load(Ordering::Relaxed).checked_sub(units) {
            Some(left) => {
                account.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => {
                self.exceeded.store(true, Ordering::Relaxed);
                Err(ExecutionError::function_error(READ, "it is too much work"))
            }
        }
    }
}

/// How much a value holds.
fn units(value: &dyn Val) -> u64 {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return 1 + (text.inner().len() / TEXT_UNIT) as u64;
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        return 1 + list.inner().iter().map(|item| units(item.as_ref())).sum::<u64>();
    }
    if let Some(map) = value.downcast_ref::<CelMap>() {
        return 1 + map.inner().iter().map(|(key, member)| units(key.inner()) + units(member.as_ref())).sum::<u64>();
    }
    1
}

fn unchanged<'c, 'v>(value: CowVal<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
    Ok(value)
}

fn no_map<'c, 'v>(value: CowVal<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
    match value.downcast_ref::<CelMap>() {
        Some(_) => Err(ExecutionError::UnexpectedType { got: "map".to_owned(), want: "list".to_owned() }),
        None => Ok(value),
    }
}

fn scalar<'c, 'v>(value: CowVal<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
    if value.as_sizer().is_some() && value.downcast_ref::<CelString>().is_none() {
        let got = value.get_type().name().to_owned();
        return Err(ExecutionError::UnexpectedType { got, want: "number".to_owned() });
    }
    Ok(value)
}

/// A list as it is, if it is not too long; the keys of a map in their order, because the evaluator has none for them.
fn in_order<'c, 'v>(value: CowVal<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let length = value.as_sizer().map_or(0, |sizer| sizer.size().into_inner());
    if usize::try_from(length).is_ok_and(|length| length > MAX_LIST) {
        return Err(ExecutionError::function_error(ITEMS, format!("a list has more than {MAX_LIST} elements")));
    }
    let Some(map) = value.downcast_ref::<CelMap>() else {
        return Ok(value);
    };
    let mut keys: Vec<CelMapKey<'v>> = map.inner().keys().cloned().collect();
    keys.sort();
    let keys: Vec<Box<dyn Val + 'v>> = keys.iter().map(|key| key.inner().clone_as_boxed()).collect();
    Ok(CowVal::owned(CelList::from(keys)))
}
