//! Objects for generated programs: two nodes that may be one, their arrays that may be one, a static and a method that writes.

use std::sync::Once;

/// What programs declare: [`World`] in IL.
pub const DECLARATIONS: &str = ".class Other\n.field Other long q 8\n.field Other int r 16\n\
    .class Node\n.field Node Node next 8\n.field Node int x 16\n.field Node byte small 20\n.field Node long y 24\n\
    .field Node int[] data 32\n.field Node int z 40\n.field Node Other other 48\n\
    .static Node int stat 0x21000\n.static Node long wide 0x21008\n\
    .method static void Node::Write(Node, int)\n";

/// Elements of each array.
pub const LENGTH: usize = 4;

#[repr(C)]
struct Node {
    class: u64,
    next: *mut Node,
    x: i32,
    small: u8,
    y: i64,
    data: *mut Array,
    z: i32,
    other: *mut Other,
}

#[repr(C)]
struct Other {
    class: u64,
    q: i64,
    r: i32,
}

#[repr(C)]
struct Array {
    class: u64,
    length: u64,
    elements: [i32; LENGTH],
}

/// Page with the entry of the first method (as the mock host places it) and statics.
const PAGE: usize = 0x20000;
const STATICS: usize = 0x21000;

/// Node::Write
extern "C" fn write(node: *mut Node, n: i32) {
    // SAFETY: nodes are never null, and their fields lead to other parts of the world.
    unsafe {
        (*node).x = (*node).x.wrapping_add(n);
        (*node).z ^= n;
        (*node).next = (*(*node).next).next;
        (*(*node).data).elements[n as usize % LENGTH] = n;
        (*(*node).other).r = n;
        *(STATICS as *mut i32) = n;
    }
}

/// The objects of one run.
pub struct World {
    nodes: Box<[Node; 2]>,
    others: Box<[Other; 2]>,
    arrays: Box<[Array; 2]>,
    one: bool,
}

impl World {
    /// With one node for both arguments, or two.
    pub fn new(one: bool) -> World {
        static MAP: Once = Once::new();
        MAP.call_once(|| {
            // SAFETY: nothing else is at this low address.
            let page = unsafe {
                libc::mmap(
                    PAGE as *mut libc::c_void,
                    0x2000,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                    -1,
                    0,
                )
            };
            assert_eq!(page as usize, PAGE);
            // SAFETY: just mapped.
            unsafe { *(PAGE as *mut usize) = write as *const () as usize };
        });
        // SAFETY: mapped above.
        unsafe { *(STATICS as *mut [i64; 2]) = [11, 12] };
        let array = |n: i32| Array {
            class: 0,
            length: LENGTH as u64,
            elements: std::array::from_fn(|i| n + i as i32),
        };
        let mut arrays = Box::new([array(100), array(200)]);
        let other = |n: i64| Other { class: 0, q: n, r: 3 };
        let mut others = Box::new([other(5), other(6)]);
        let mut nodes: Box<[Node; 2]> = Box::new(std::array::from_fn(|i| Node {
            class: 0,
            next: std::ptr::null_mut(),
            x: 7 + i as i32,
            small: 200,
            y: 1 << (33 + i),
            data: &raw mut arrays[i],
            z: -1,
            other: &raw mut others[i],
        }));
        nodes[0].next = &raw mut nodes[1];
        nodes[1].next = &raw mut nodes[usize::from(!one)];
        World {
            nodes,
            others,
            arrays,
            one,
        }
    }

    /// Addresses of the two arguments.
    pub fn arguments(&mut self) -> [usize; 2] {
        let second = usize::from(!self.one);
        [&raw mut self.nodes[0] as usize, &raw mut self.nodes[second] as usize]
    }

    /// A number of everything that can be written.
    pub fn digest(&self) -> u64 {
        let mut sum = 0u64;
        let mut mix = |n: u64| sum = (sum ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        for node in self.nodes.iter() {
            mix(u64::from(node.next.cast_const() == &raw const self.nodes[0]));
            mix(u64::from(node.data.cast_const() == &raw const self.arrays[0]));
            mix(u64::from(node.other.cast_const() == &raw const self.others[0]));
            [node.x as u64, u64::from(node.small), node.y as u64, node.z as u64]
                .into_iter()
                .for_each(&mut mix);
        }
        for other in self.others.iter() {
            mix(other.q as u64);
            mix(other.r as u64);
        }
        for n in self.arrays.iter().flat_map(|a| a.elements) {
            mix(n as u64);
        }
        // SAFETY: mapped by `new`.
        let statics = unsafe { *(STATICS as *const [i64; 2]) };
        statics.into_iter().for_each(|n| mix(n as u64));
        sum
    }
}
