"""Draw the parts of a street scene, from far to near: sky, buildings, ground, trees, poles, people, cars, light.

Positions are computed with integers only, so that every machine draws the same pixels. See dataset.py.
"""

import cv2
import numpy as np

ROAD, PAVEMENT, BUILDING, SKY, TREE, CAR, PERSON, SIGN, POLE = range(9)


class Canvas:
    """Image (H, W, 3) BGR uint8, class of each pixel, and instance number (0: none), always drawn together."""

    def __init__(self, height, width):
        self.image = np.zeros((height, width, 3), np.uint8)
        self.label = np.full((height, width), BUILDING, np.uint8)
        self.instance = np.zeros((height, width), np.uint16)
        self.count = 0  # instances so far

    def new_instance(self):
        self.count += 1
        return self.count

    def polygon(self, points, colour, label, instance=0):
        points = np.asarray(points, np.int32).reshape(-1, 1, 2)
        for layer, value in ((self.image, colour), (self.label, label), (self.instance, instance)):
            cv2.fillPoly(layer, [points], value)

    def box(self, x0, y0, x1, y1, colour, label, instance=0):
        """A filled box, both corners included, at least one pixel thick."""
        x0, x1, y0, y1 = max(x0, 0), max(x1, x0) + 1, max(y0, 0), max(y1, y0) + 1
        if x1 <= 0 or y1 <= 0:
            return
        self.image[y0:y1, x0:x1] = colour
        self.label[y0:y1, x0:x1] = label
        self.instance[y0:y1, x0:x1] = instance

    def disc(self, x, y, radius, colour, label, instance=0):
        for layer, value in ((self.image, colour), (self.label, label), (self.instance, instance)):
            cv2.circle(layer, (int(x), int(y)), max(int(radius), 0), value, -1)


def colour(rng, low, high, tint=(0, 0, 0)):
    """A greyish BGR colour between low and high, shifted by `tint`."""
    grey = int(rng.integers(low, high + 1))
    spread = rng.integers(-14, 15, 3)
    return tuple(int(c) for c in np.clip(grey + spread + np.array(tint), 0, 255))


def draw_sky(canvas, rng, horizon):
    top = np.array(((215, 160, 95), (205, 195, 185), (150, 110, 75), (170, 150, 200))[rng.integers(4)])  # clear .. dusk
    bottom = np.clip(top + rng.integers(10, 50, 3), 0, 255)
    steps = np.arange(horizon + 1)[:, None]
    rows = top[None] + (bottom - top)[None] * steps // max(horizon, 1)  # (horizon + 1, 3)
    canvas.image[: horizon + 1] = rows[:, None].astype(np.uint8)
    canvas.label[: horizon + 1] = SKY
    height, width = canvas.label.shape
    for _ in range(rng.integers(0, 5)):  # clouds
        x, y, r = rng.integers(0, width), rng.integers(0, horizon + 1), max(height // 14, 1)
        shade = colour(rng, 205, 245)
        for k in range(4):
            canvas.disc(x + (k - 2) * r, min(y + rng.integers(-r // 2, r // 2 + 1), horizon - r), r, shade, SKY)


def draw_buildings(canvas, rng, horizon):
    """A row of buildings with gaps: blocks of different height and colour, with windows."""
    height, width = canvas.label.shape
    foot = min(horizon + height // 12, height - 1)
    canvas.box(0, horizon + 1, width - 1, height - 1, colour(rng, 90, 120), BUILDING)
    x = -int(rng.integers(0, width // 8 + 1))
    while x < width:
        wide = int(width * rng.integers(10, 28) // 100) + 2
        if rng.random() < 0.82:
            roof = int(horizon * rng.integers(5, 85) // 100)
            tint = ((0, 0, 0), (-25, -15, 25), (20, 5, -15), (-30, 5, 20))[rng.integers(4)]
            wall = colour(rng, 80, 170, tint)
            canvas.box(x, roof, x + wide, foot, wall, BUILDING)
            pane = tuple(int(c * rng.integers(35, 70) // 100) for c in wall) if rng.random() < 0.7 else (150, 200, 225)
            step, size = max(height // 16, 4), max(height // 40, 1)
            for wy in range(roof + step // 2, foot - size, step):
                for wx in range(x + step // 2, x + wide - size, step):
                    canvas.box(wx, wy, wx + size, wy + size + size // 2, pane, BUILDING)
        x += wide + int(rng.integers(0, 3)) * width // 60


def draw_ground(canvas, rng, horizon, vanish):
    """Pavement over the whole width, a road on it, lane marks on the road. -> function: row y -> edges of the road."""
    height, width = canvas.label.shape
    start = horizon + max(height // 24, 1)
    stone = colour(rng, 130, 180, ((0, 0, 0), (-10, 0, 10))[rng.integers(2)])
    canvas.box(0, start, width - 1, height - 1, stone, PAVEMENT)
    for y in range(start, height, max(height // 18, 3)):  # joints
        canvas.box(0, y, width - 1, y, tuple(c * 9 // 10 for c in stone), PAVEMENT)

    left, right = vanish - int(width * rng.integers(25, 55) // 100), vanish + int(width * rng.integers(25, 55) // 100)
    narrow = max(width // 40, 2)

    def edges(y):
        return (
            vanish - narrow + (left - vanish + narrow) * (y - start) // max(height - 1 - start, 1),
            vanish + narrow + (right - vanish - narrow) * (y - start) // max(height - 1 - start, 1),
        )

    asphalt = colour(rng, 60, 105)
    bottom = height - 1
    corners = [
        (edges(start)[0], start),
        (edges(start)[1], start),
        (edges(bottom)[1], bottom),
        (edges(bottom)[0], bottom),
    ]
    canvas.polygon(corners, asphalt, ROAD)
    for _ in range(rng.integers(0, 4)):  # patches and stains
        y = int(rng.integers(start, height))
        a, b = edges(y)
        x = int(rng.integers(a, max(b, a + 1)))
        patch = tuple(int(np.clip(c + rng.integers(-18, 19), 0, 255)) for c in asphalt)
        wide = (b - a) // 6
        canvas.polygon([(x, y), (min(x + wide, b), y), (min(x + wide, b) - wide // 3, y - wide // 4)], patch, ROAD)
    for k in range(8):  # the dashed line in the middle, shrinking towards the horizon
        y0, y1 = start + (bottom - start) * k * k // 64, start + (bottom - start) * (k * k + k + 1) // 64
        m0, m1 = sum(edges(y0)) // 2, sum(edges(y1)) // 2
        t = max((edges(y1)[1] - edges(y1)[0]) // 60, 0)
        canvas.polygon([(m0, y0), (m1 - t, y1), (m1 + t, y1)], (215, 220, 220), ROAD)
    return edges


def draw_things(canvas, rng, horizon, edges):
    """Trees, poles with signs, people and cars, far ones first, so that near ones hide them."""
    height, width = canvas.label.shape
    start = horizon + max(height // 24, 1)
    things = []
    for draw, low, high in ((draw_tree, 2, 7), (draw_pole, 2, 7), (draw_person, 3, 8), (draw_car, 2, 5)):
        for _ in range(rng.integers(low, high)):
            depth = int(rng.integers(6, 100))  # percent of the way from the horizon to the viewer
            things.append((depth, len(things), draw))
    for depth, _, draw in sorted(things, key=lambda thing: thing[:2]):
        y = min(start + (height - 1 - start) * depth // 100, height - 1)  # row of its foot
        a, b = edges(y)
        if draw is draw_car:
            x = int(rng.integers(a, max(b, a + 1)))
        else:  # left of the road, or right of it
            x = int(rng.integers(-width // 12, max(a, -width // 12 + 1)))
            if rng.random() < 0.5 or a < width // 20:
                x = int(rng.integers(min(b, width - 1), width + width // 12))
            if draw is draw_person and rng.random() < 0.25:
                x = int(rng.integers(a, max(b, a + 1)))  # crosses the road
        size = max(height * (14 + depth * 40 // 100) // 100, 3)  # of a person, in pixels
        draw(canvas, rng, x, y, size)


def draw_tree(canvas, rng, x, y, size):
    tall, thick = size * int(rng.integers(18, 28)) // 10, max(size // 9, 1)
    canvas.box(x - thick // 2, y - tall // 2, x + thick // 2, y, colour(rng, 45, 75, (-15, 0, 15)), TREE)
    green = colour(rng, 60, 110, ((-30, 25, -15), (-35, 15, 10), (-25, 30, -30))[rng.integers(3)])
    for _ in range(9):
        r = size * int(rng.integers(30, 60)) // 100
        dx, dy = int(rng.integers(-size // 2, size // 2 + 1)), int(rng.integers(-size // 2, size // 2 + 1))
        leaf = tuple(int(np.clip(c + rng.integers(-16, 17), 0, 255)) for c in green)
        canvas.disc(x + dx, y - tall * 7 // 10 + dy, r, leaf, TREE)


def draw_pole(canvas, rng, x, y, size):
    """A pole; two of three have a sign."""
    tall, thick = size * int(rng.integers(17, 24)) // 10, max(size // 6, len(canvas.label) // 40, 1)
    canvas.box(x - thick // 2, y - tall, x - thick // 2 + thick - 1, y, colour(rng, 25, 50, (25, 15, -5)), POLE)
    shape, r = int(rng.integers(3)), max(size * 4 // 10, 2)
    cy = y - tall + r // 2
    if shape == 0:
        canvas.disc(x, cy, r, (40, 40, 200), SIGN)
        canvas.disc(x, cy, r * 6 // 10, (235, 235, 235), SIGN)
    elif shape == 1:
        canvas.box(x - r, cy - r * 8 // 10, x + r, cy + r * 8 // 10, (190, 95, 20), SIGN)
        canvas.box(x - r // 2, cy - r // 3, x + r // 2, cy + r // 3, (240, 240, 240), SIGN)


def draw_person(canvas, rng, x, y, size):
    instance = canvas.new_instance()
    shirt = [(40, 40, 190), (190, 80, 40), (60, 170, 220), (60, 140, 50), (200, 200, 205), (120, 50, 130)][
        rng.integers(6)
    ]
    trousers, skin = colour(rng, 25, 70, (12, 0, 0)), colour(rng, 110, 190, (-25, 0, 30))
    wide, head, stride = max(size // 4, 1), max(size // 8, 1), int(rng.integers(0, max(size // 5, 1) + 1))
    hip, neck = y - size * 45 // 100, y - size * 82 // 100
    leg = max(wide // 3, 1)
    for foot in (x - stride // 2 - leg // 2, x + stride // 2 + leg // 2):
        canvas.polygon(
            [(x - leg, hip), (x + leg, hip), (foot + leg // 2, y), (foot - leg // 2, y)], trousers, PERSON, instance
        )
    canvas.box(x - wide // 2, neck, x + wide // 2, hip, shirt, PERSON, instance)
    canvas.box(x - wide // 2 - leg // 2, neck + 1, x - wide // 2, hip - 1, shirt, PERSON, instance)
    canvas.disc(x, neck - head, head, skin, PERSON, instance)


def draw_car(canvas, rng, x, y, size):
    instance = canvas.new_instance()
    paint = [(35, 30, 170), (150, 70, 30), (40, 40, 45), (225, 225, 225), (150, 150, 155), (60, 150, 190)][
        rng.integers(6)
    ]
    tall, wide = size * 85 // 100, size * int(rng.integers(14, 26)) // 10
    x0, x1, r = x - wide // 2, x + wide // 2, max(tall // 6, 1)
    roof, belt, floor = y - tall, y - tall * 55 // 100, y - r // 2
    cabin = [(x0 + wide // 6, belt), (x0 + wide // 4, roof), (x1 - wide // 4, roof), (x1 - wide // 7, belt)]
    canvas.polygon(cabin, paint, CAR, instance)
    inner = [
        (x0 + wide // 5, belt),
        (x0 + wide * 27 // 100, roof + r // 2),
        (x1 - wide * 27 // 100, roof + r // 2),
        (x1 - wide // 5, belt),
    ]
    canvas.polygon(inner, colour(rng, 50, 110, (20, 8, 0)), CAR, instance)
    canvas.box(x0, belt, x1, floor, paint, CAR, instance)
    for wheel in (x0 + wide // 5, x1 - wide // 5):
        canvas.disc(wheel, y - r, r, (22, 22, 22), CAR, instance)
        canvas.disc(wheel, y - r, r // 2, (130, 130, 130), CAR, instance)
    lamp = ((60, 60, 230), (210, 240, 250))[rng.integers(2)]
    canvas.box(x1 - r, belt + r // 2, x1, belt + r, lamp, CAR, instance)


def light(image, rng, horizon):
    """Vary brightness and colour, add a shadow on the ground and noise. Changes the image in place, not the label."""
    height, width = image.shape[:2]
    gain = rng.integers(60, 121, 1) + rng.integers(-8, 9, 3)  # percent, per channel
    slope = int(rng.integers(-20, 21))  # percent more light from one side to the other
    across = gain[None] + slope * (2 * np.arange(width)[:, None] - width) // (2 * width)  # (W, 3)
    percent = np.broadcast_to(across[None], image.shape).copy()  # (H, W, 3)
    if rng.random() < 0.6:
        shadow = np.zeros((height, width), np.uint8)
        x = int(rng.integers(-width // 4, width))
        far, near = x + int(rng.integers(width // 8, width // 2 + 1)), int(rng.integers(-width // 3, width // 3 + 1))
        corners = [(x, horizon), (far, horizon), (far + near, height - 1), (x + near, height - 1)]
        cv2.fillPoly(shadow, [np.array(corners, np.int32).reshape(-1, 1, 2)], 1)
        percent[shadow == 1] = percent[shadow == 1] * int(rng.integers(60, 86)) // 100
    grain = rng.integers(-9, 10, image.shape)
    image[:] = np.clip(image.astype(np.int64) * percent // 100 + grain, 0, 255).astype(np.uint8)
