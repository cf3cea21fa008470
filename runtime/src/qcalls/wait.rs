//! Waitable objects with Win32 semantics: events, semaphores and mutexes behind handles, waits for one, any or all of them.
//!
//! One lock guards every object; signalling grants the object to a waiter before the waiter runs, so a waiter that wakes up
//! owns what it waited for. Blocking happens in preemptive mode, which is the callers' duty.

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// `WAIT_ABANDONED_0`.
pub const WAIT_ABANDONED: i32 = 0x80;
/// `WAIT_TIMEOUT`.
pub const WAIT_TIMEOUT: i32 = 0x102;
/// `WAIT_FAILED`.
pub const WAIT_FAILED: i32 = -1;

/// Win32 error numbers that the class library looks at, by their names in winerror.h.
#[allow(missing_docs, reason = "the names are those of winerror.h")]
pub mod errors {
    pub const ERROR_SUCCESS: i32 = 0;
    pub const ERROR_FILE_NOT_FOUND: i32 = 2;
    pub const ERROR_INVALID_HANDLE: i32 = 6;
    pub const ERROR_NOT_SUPPORTED: i32 = 50;
    pub const ERROR_INVALID_PARAMETER: i32 = 87;
    pub const ERROR_ALREADY_EXISTS: i32 = 183;
    pub const ERROR_ENVVAR_NOT_FOUND: i32 = 203;
    pub const ERROR_NOT_OWNER: i32 = 288;
    pub const ERROR_TOO_MANY_POSTS: i32 = 298;
}

/// What a handle stands for.
#[derive(Debug)]
enum Kind {
    Event {
        signaled: bool,
        manual_reset: bool,
    },
    Semaphore {
        count: i32,
        maximum: i32,
    },
    Mutex {
        owner: u64,
        recursion: u32,
        abandoned: bool,
    },
}

#[derive(Debug)]
struct Object {
    kind: Kind,
    waiters: VecDeque<Arc<Waiter>>,
    /// Open handles (named objects share one).
    references: usize,
    name: Option<String>,
}

/// One blocked wait. `outcome` is written under the table lock.
#[derive(Debug)]
struct Waiter {
    thread: u64,
    handles: Vec<usize>,
    all: bool,
    outcome: Mutex<Option<i32>>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    objects: FxHashMap<usize, Object>,
    next: usize,
    names: FxHashMap<String, usize>,
}

fn table() -> MutexGuard<'static, Table> {
    static TABLE: OnceLock<Mutex<Table>> = OnceLock::new();
    TABLE.get_or_init(Mutex::default).lock()
}

/// Lets another thread end a wait early (`Thread.Interrupt`).
#[derive(Debug, Default)]
pub struct InterruptCell {
    requested: AtomicBool,
    blocked: Mutex<Option<Arc<Waiter>>>,
}

impl InterruptCell {
    /// Asks for the interruption of the present or next interruptible wait of the owning thread.
    pub fn interrupt(&self) {
        self.requested.store(true, Ordering::SeqCst);
        let waiter = self.blocked.lock().clone();
        if let Some(waiter) = waiter {
            let _outcome = waiter.outcome.lock();
            waiter.wake.notify_all();
        }
    }
    /// Whether an interruption is requested; resets the request.
    pub fn take(&self) -> bool {
        self.requested.swap(false, Ordering::SeqCst)
    }
    /// Whether an interruption is requested.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}

/// Result of a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitOutcome {
    /// `WAIT_OBJECT_0 + index`, [`WAIT_ABANDONED`]` + index` or [`WAIT_TIMEOUT`].
    Code(i32),
    /// `Thread.Interrupt` ended it; the request was consumed.
    Interrupted,
    /// A handle is not valid.
    InvalidHandle,
}

impl Object {
    fn new(kind: Kind, name: Option<String>) -> Object {
        Object {
            kind,
            waiters: VecDeque::new(),
            references: 1,
            name,
        }
    }

    fn available_to(&self, thread: u64) -> bool {
        match self.kind {
            Kind::Event { signaled, .. } => signaled,
            Kind::Semaphore { count, .. } => count > 0,
            Kind::Mutex { owner, .. } => owner == 0 || owner == thread,
        }
    }

    /// Takes the object; returns whether it was an abandoned mutex.
    fn acquire(&mut self, thread: u64) -> bool {
        match &mut self.kind {
            Kind::Event { signaled, manual_reset } => {
                if !*manual_reset {
                    *signaled = false;
                }
                false
            }
            Kind::Semaphore { count, .. } => {
                *count -= 1;
                false
            }
            Kind::Mutex {
                owner,
                recursion,
                abandoned,
            } => {
                *owner = thread;
                *recursion += 1;
                std::mem::take(abandoned)
            }
        }
    }
}

impl Table {
    fn insert(&mut self, object: Object) -> usize {
        self.next += 1;
        // Multiples of 8 from 0x1000: never mistaken for null or -1.
        let handle = 0x1000 + self.next * 8;
        if let Some(name) = &object.name {
            self.names.insert(name.clone(), handle);
        }
        self.objects.insert(handle, object);
        handle
    }

    /// Code of an immediate success, after acquiring.
    fn try_acquire(&mut self, handles: &[usize], all: bool, thread: u64) -> Option<i32> {
        if all {
            if !handles
                .iter()
                .all(|h| self.objects.get(h).is_some_and(|o| o.available_to(thread)))
            {
                return None;
            }
            let mut abandoned = None;
            for (i, h) in handles.iter().enumerate() {
                if let Some(o) = self.objects.get_mut(h)
                    && o.acquire(thread)
                {
                    abandoned.get_or_insert(i as i32);
                }
            }
            return Some(abandoned.map_or(0, |i| WAIT_ABANDONED + i));
        }
        for (i, h) in handles.iter().enumerate() {
            if let Some(o) = self.objects.get_mut(h)
                && o.available_to(thread)
            {
                let abandoned = o.acquire(thread);
                return Some(i as i32 + if abandoned { WAIT_ABANDONED } else { 0 });
            }
        }
        None
    }

    fn forget_waiter(&mut self, waiter: &Arc<Waiter>) {
        for h in &waiter.handles {
            if let Some(o) = self.objects.get_mut(h) {
                o.waiters.retain(|w| !Arc::ptr_eq(w, waiter));
            }
        }
    }

    /// Grants `handle` to waiters as long as it is available.
    fn grant(&mut self, handle: usize) {
        let mut index = 0;
        loop {
            let Some(object) = self.objects.get(&handle) else {
                return;
            };
            let Some(waiter) = object.waiters.get(index).cloned() else {
                return;
            };
            if !object.available_to(waiter.thread) {
                return;
            }
            match self.try_acquire(&waiter.handles, waiter.all, waiter.thread) {
                Some(code) => {
                    self.forget_waiter(&waiter);
                    *waiter.outcome.lock() = Some(code);
                    waiter.wake.notify_all();
                }
                None => index += 1,
            }
        }
    }
}

/// `CreateEvent`.
pub fn create_event(manual_reset: bool, signaled: bool) -> usize {
    table().insert(Object::new(Kind::Event { signaled, manual_reset }, None))
}

/// `CreateSemaphore`; `None` if the counts are not valid.
pub fn create_semaphore(initial: i32, maximum: i32) -> Option<usize> {
    (initial >= 0 && maximum > 0 && initial <= maximum).then(|| {
        table().insert(Object::new(
            Kind::Semaphore {
                count: initial,
                maximum,
            },
            None,
        ))
    })
}

/// `CreateMutex`: the handle and whether a mutex of that name existed. Names are known in this process only.
pub fn create_mutex(owned_by: Option<u64>, name: Option<String>) -> (usize, bool) {
    let mut t = table();
    if let Some(existing) = name.as_ref().and_then(|n| t.names.get(n).copied())
        && let Some(o) = t.objects.get_mut(&existing)
    {
        o.references += 1;
        return (existing, true);
    }
    let (owner, recursion) = owned_by.map_or((0, 0), |t| (t, 1));
    (
        t.insert(Object::new(
            Kind::Mutex {
                owner,
                recursion,
                abandoned: false,
            },
            name,
        )),
        false,
    )
}

/// `OpenMutex` by name.
pub fn open_mutex(name: &str) -> Option<usize> {
    let mut t = table();
    let handle = t.names.get(name).copied()?;
    t.objects.get_mut(&handle)?.references += 1;
    Some(handle)
}

/// `SetEvent`; false if the handle is not an event.
pub fn set_event(handle: usize) -> bool {
    let mut t = table();
    let Some(Object {
        kind: Kind::Event { signaled, .. },
        ..
    }) = t.objects.get_mut(&handle)
    else {
        return false;
    };
    *signaled = true;
    t.grant(handle);
    true
}

/// `ResetEvent`; false if the handle is not an event.
pub fn reset_event(handle: usize) -> bool {
    let mut t = table();
    let Some(Object {
        kind: Kind::Event { signaled, .. },
        ..
    }) = t.objects.get_mut(&handle)
    else {
        return false;
    };
    *signaled = false;
    true
}

/// `ReleaseSemaphore`: the previous count, or a Win32 error number.
pub fn release_semaphore(handle: usize, release: i32) -> Result<i32, i32> {
    let mut t = table();
    let Some(Object {
        kind: Kind::Semaphore { count, maximum },
        ..
    }) = t.objects.get_mut(&handle)
    else {
        return Err(errors::ERROR_INVALID_HANDLE);
    };
    let previous = *count;
    if release <= 0 {
        return Err(errors::ERROR_INVALID_PARAMETER);
    }
    match previous.checked_add(release) {
        Some(sum) if sum <= *maximum => *count = sum,
        _ => return Err(errors::ERROR_TOO_MANY_POSTS),
    }
    t.grant(handle);
    Ok(previous)
}

/// `ReleaseMutex`, or a Win32 error number.
pub fn release_mutex(handle: usize, thread: u64) -> Result<(), i32> {
    let mut t = table();
    let Some(Object {
        kind: Kind::Mutex { owner, recursion, .. },
        ..
    }) = t.objects.get_mut(&handle)
    else {
        return Err(errors::ERROR_INVALID_HANDLE);
    };
    if *owner != thread {
        return Err(errors::ERROR_NOT_OWNER);
    }
    *recursion -= 1;
    if *recursion == 0 {
        *owner = 0;
        t.grant(handle);
    }
    Ok(())
}

/// Makes mutexes that `thread` still owns abandoned (the thread ends).
pub fn abandon_mutexes(thread: u64) {
    let mut t = table();
    let mut freed = Vec::new();
    for (handle, o) in &mut t.objects {
        if let Kind::Mutex {
            owner,
            recursion,
            abandoned,
        } = &mut o.kind
            && *owner == thread
        {
            (*owner, *recursion, *abandoned) = (0, 0, true);
            freed.push(*handle);
        }
    }
    for handle in freed {
        t.grant(handle);
    }
}

/// `CloseHandle`; false if the handle is not open.
pub fn close(handle: usize) -> bool {
    let mut t = table();
    let Some(o) = t.objects.get_mut(&handle) else {
        return false;
    };
    o.references -= 1;
    if o.references == 0
        && let Some(o) = t.objects.remove(&handle)
        && let Some(name) = o.name
    {
        t.names.remove(&name);
    }
    true
}

/// Signals an object of any kind (first half of `SignalObjectAndWait`), or gives a Win32 error number.
pub fn signal(handle: usize, thread: u64) -> Result<(), i32> {
    let kind = table().objects.get(&handle).map(|o| std::mem::discriminant(&o.kind));
    let is = |k: &Kind| kind == Some(std::mem::discriminant(k));
    if is(&Kind::Event {
        signaled: false,
        manual_reset: false,
    }) {
        set_event(handle);
        Ok(())
    } else if is(&Kind::Semaphore { count: 0, maximum: 0 }) {
        release_semaphore(handle, 1).map(drop)
    } else {
        release_mutex(handle, thread)
    }
}

/// Deadline of a timeout in milliseconds; -1 means never.
pub fn deadline(timeout_ms: i32) -> Option<Instant> {
    (timeout_ms >= 0).then(|| Instant::now() + Duration::from_millis(timeout_ms as u64))
}

/// Waits until one (or, with `all`, every) handle is signalled. `lifo` puts this waiter in front of the others.
pub fn wait(
    handles: &[usize],
    all: bool,
    timeout_ms: i32,
    thread: u64,
    lifo: bool,
    interrupt: Option<&InterruptCell>,
) -> WaitOutcome {
    let deadline = deadline(timeout_ms);
    let waiter;
    {
        let mut t = table();
        if !handles.iter().all(|h| t.objects.contains_key(h)) {
            return WaitOutcome::InvalidHandle;
        }
        if interrupt.is_some_and(InterruptCell::take) {
            return WaitOutcome::Interrupted;
        }
        if let Some(code) = t.try_acquire(handles, all, thread) {
            return WaitOutcome::Code(code);
        }
        if timeout_ms == 0 {
            return WaitOutcome::Code(WAIT_TIMEOUT);
        }
        waiter = Arc::new(Waiter {
            thread,
            handles: handles.to_vec(),
            all,
            outcome: Mutex::new(None),
            wake: Condvar::new(),
        });
        for h in handles {
            if let Some(o) = t.objects.get_mut(h) {
                if lifo {
                    o.waiters.push_front(waiter.clone());
                } else {
                    o.waiters.push_back(waiter.clone());
                }
            }
        }
    }
    if let Some(cell) = interrupt {
        *cell.blocked.lock() = Some(waiter.clone());
    }
    let mut outcome = waiter.outcome.lock();
    let mut interrupted = false;
    let mut timed_out = false;
    while outcome.is_none() && !timed_out {
        if interrupt.is_some_and(InterruptCell::is_requested) {
            interrupted = true;
            break;
        }
        match deadline {
            None => waiter.wake.wait(&mut outcome),
            Some(at) => timed_out = waiter.wake.wait_until(&mut outcome, at).timed_out(),
        }
    }
    drop(outcome);
    if let Some(cell) = interrupt {
        *cell.blocked.lock() = None;
    }
    // A grant may have come in between: the table lock decides.
    let mut t = table();
    let granted = *waiter.outcome.lock();
    if let Some(code) = granted {
        return WaitOutcome::Code(code);
    }
    t.forget_waiter(&waiter);
    if interrupted && interrupt.is_some_and(InterruptCell::take) {
        return WaitOutcome::Interrupted;
    }
    WaitOutcome::Code(WAIT_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_reset_event_releases_one_waiter() {
        let e = create_event(false, true);
        assert_eq!(wait(&[e], false, 0, 1, false, None), WaitOutcome::Code(0));
        assert_eq!(wait(&[e], false, 0, 1, false, None), WaitOutcome::Code(WAIT_TIMEOUT));
        let t = std::thread::spawn(move || wait(&[e], false, 10_000, 2, false, None));
        std::thread::sleep(Duration::from_millis(20));
        assert!(set_event(e));
        assert_eq!(t.join().expect("the thread ends"), WaitOutcome::Code(0));
        assert!(close(e));
        assert!(!set_event(e));
    }

    #[test]
    fn mutex_is_recursive_owned_and_can_be_abandoned() {
        let (m, existed) = create_mutex(Some(1), None);
        assert!(!existed);
        assert_eq!(wait(&[m], false, 0, 1, false, None), WaitOutcome::Code(0));
        assert_eq!(release_mutex(m, 2), Err(errors::ERROR_NOT_OWNER));
        assert_eq!(wait(&[m], false, 0, 2, false, None), WaitOutcome::Code(WAIT_TIMEOUT));
        abandon_mutexes(1);
        assert_eq!(wait(&[m], false, 0, 2, false, None), WaitOutcome::Code(WAIT_ABANDONED));
    }

    #[test]
    fn wait_all_takes_nothing_until_everything_is_there() {
        let a = create_event(false, true);
        let s = create_semaphore(0, 2).expect("valid counts");
        assert_eq!(wait(&[a, s], true, 5, 1, false, None), WaitOutcome::Code(WAIT_TIMEOUT));
        assert_eq!(release_semaphore(s, 1), Ok(0));
        assert_eq!(wait(&[a, s], true, 5, 1, false, None), WaitOutcome::Code(0));
        assert_eq!(release_semaphore(s, 3), Err(errors::ERROR_TOO_MANY_POSTS));
        assert_eq!(wait(&[a, s], false, 0, 1, false, None), WaitOutcome::Code(WAIT_TIMEOUT));
    }

    #[test]
    fn interruption_ends_a_wait() {
        let e = create_event(true, false);
        let cell = Arc::new(InterruptCell::default());
        let other = cell.clone();
        let t = std::thread::spawn(move || wait(&[e], false, -1, 1, false, Some(&other)));
        std::thread::sleep(Duration::from_millis(20));
        cell.interrupt();
        assert_eq!(t.join().expect("the thread ends"), WaitOutcome::Interrupted);
    }
}
