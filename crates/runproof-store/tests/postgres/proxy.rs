//! What lies between a store and its server: it passes everything on, until it meets the statement at which it is to cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// Where the line is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The server never sees the statement.
    Before,
    /// The server sees half of it.
    Within,
    /// The server has it, and nobody waits for what it says. What it does goes on.
    Under,
    /// The server has done it, and its answer is lost.
    After,
}

/// What happens once, at the moment of the cut: the server's side is closed, and the store does not know it yet.
type Then = Box<dyn FnOnce() + Send>;

/// A cut that is to be made at the next statement that has this text.
struct Plan {
    text: &'static str,
    cut: Cut,
    then: Option<Then>,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    cuts: u32,
    transactions: u64,
}

/// The proxy. Its threads end with their connections.
pub(super) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// A proxy in front of a server.
    pub(super) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::<Mutex<State>>::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                Line::begin(client.unwrap(), server, Arc::clone(&shared));
            }
        });
        Self { address, state }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts at the next statement with this text.
    pub(super) fn cut(&self, text: &'static str, cut: Cut) {
        self.cut_and(text, cut, None);
    }

    /// Cuts, and does something before the store can know of it.
    pub(super) fn cut_and(&self, text: &'static str, cut: Cut, then: Option<Then>) {
        self.state.lock().unwrap().plan = Some(Plan { text, cut, then });
    }

    /// Transactions that the server has ended so far.
    pub(super) fn transactions(&self) -> u64 {
        self.state.lock().unwrap().transactions
    }

    /// Cuts so far; a cut that did not come to pass is forgotten.
    pub(super) fn cuts(&self) -> u32 {
        let mut state = self.state.lock().unwrap();
        state.plan = None;
        state.cuts
    }
}

/// One connection: what is asked, what is answered, and how much of that is passed on.
struct Line {
    client: TcpStream,
    server: TcpStream,
    state: Arc<Mutex<State>>,
    progress: Mutex<Progress>,
    cutting: Mutex<()>,
}

#[derive(Default)]
struct Progress {
    /// Rounds that were asked for; the server ends each with `ReadyForQuery`. Making the connection is the first.
    asked: u64,
    answered: u64,
    /// The round whose answer is not passed on, and what happens when it is there.
    withheld: Option<(u64, Option<Then>)>,
    /// Nothing is passed on any more; the server learns of it when it has answered everything.
    left: bool,
}

impl Line {
    fn begin(client: TcpStream, server: TcpStream, state: Arc<Mutex<State>>) {
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let progress = Mutex::new(Progress { asked: 1, ..Progress::default() });
        let line = Arc::new(Self { client, server, state, progress, cutting: Mutex::default() });
        let back = Arc::clone(&line);
        thread::spawn(move || line.ask().unwrap_or_else(|()| line.close()));
        thread::spawn(move || back.answer().unwrap_or_else(|()| back.close()));
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap()
    }

    /// One side is gone, and so is the other, once a cut is over.
    fn close(&self) {
        drop(self.cutting.lock().unwrap());
        self.end();
    }

    fn end(&self) {
        for end in [&self.server, &self.client] {
            drop(end.shutdown(Shutdown::Both)); // the other thread may have closed it
        }
    }

    /// The server's side is closed, then `then` happens, then the store learns of it.
    fn cut(&self, then: Option<Then>) {
        let _cutting = self.cutting.lock().unwrap();
        self.state.lock().unwrap().cuts += 1;
        drop(self.server.shutdown(Shutdown::Both));
        if let Some(then) = then {
            then();
        }
        self.end();
    }

    /// From the store to the server.
    fn ask(&self) -> Result<(), ()> {
        let first = read(&self.client, 0)?; // it has no tag
        write(&self.server, &first)?;
        let mut withhold = None;
        loop {
            let message = read(&self.client, 1)?;
            match self.meets(&message) {
                Some(Plan { cut: Cut::Before, then, .. }) => {
                    self.cut(then);
                    return Ok(());
                }
                Some(Plan { cut: Cut::Within, then, .. }) => {
                    write(&self.server, &message[..message.len() / 2])?;
                    self.cut(then);
                    return Ok(());
                }
                Some(plan) => withhold = Some(plan),
                None => {}
            }
            let ends_a_round = matches!(message[0], b'Q' | b'S');
            let mut leaves = false;
            if ends_a_round {
                let mut progress = self.progress();
                progress.asked += 1;
                if let Some(Plan { cut: Cut::After, then, .. }) = withhold.take_if(|plan| plan.cut == Cut::After) {
                    progress.withheld = Some((progress.asked, then));
                }
                leaves = withhold.as_ref().is_some_and(|plan| plan.cut == Cut::Under);
                progress.left = leaves;
            }
            if leaves {
                // Before the server has it: once it has answered, the other thread closes both sides.
                self.state.lock().unwrap().cuts += 1;
            }
            write(&self.server, &message)?;
            if leaves {
                drop(self.client.shutdown(Shutdown::Both)); // the store's side alone
                return Ok(());
            }
        }
    }

    /// The plan that is about this message, which is then over.
    fn meets(&self, message: &[u8]) -> Option<Plan> {
        let is_statement = matches!(message[0], b'Q' | b'P');
        let mut state = self.state.lock().unwrap();
        let meets = |plan: &mut Plan| is_statement && String::from_utf8_lossy(message).contains(plan.text);
        state.plan.take_if(meets)
    }

    /// From the server to the store.
    fn answer(&self) -> Result<(), ()> {
        loop {
            let message = read(&self.server, 1)?;
            let mut progress = self.progress();
            let withheld = progress.withheld.as_ref().is_some_and(|(round, _)| *round == progress.answered + 1);
            if message[0] == b'Z' {
                // The first one ends the making of the connection; those inside a transaction say `T`.
                if progress.answered > 0 && message.last() == Some(&b'I') {
                    self.state.lock().unwrap().transactions += 1;
                }
                progress.answered += 1;
                if withheld {
                    let then = progress.withheld.take().and_then(|(_, then)| then);
                    drop(progress);
                    self.cut(then);
                    return Ok(());
                }
                if progress.left && progress.answered == progress.asked {
                    drop(progress);
                    self.end();
                    return Ok(());
                }
            }
            let left = progress.left;
            drop(progress);
            if !withheld && !left {
                write(&self.client, &message)?;
            }
        }
    }
}

/// One message: a tag of so many bytes, its length, and the rest.
fn read(mut from: &TcpStream, tag: usize) -> Result<Vec<u8>, ()> {
    let mut message = vec![0; tag + 4];
    from.read_exact(&mut message).map_err(drop)?;
    let length = u32::from_be_bytes(message[tag..].try_into().map_err(drop)?);
    message.resize(tag + length as usize, 0);
    from.read_exact(&mut message[tag + 4..]).map_err(drop)?;
    Ok(message)
}

fn write(mut to: &TcpStream, message: &[u8]) -> Result<(), ()> {
    to.write_all(message).map_err(drop)
}
