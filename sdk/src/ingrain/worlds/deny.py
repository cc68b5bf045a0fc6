"""Words that have the shape of an invented name but mean something; no name is one of them."""

_WORDS = """
    bake bali bare base began begin beta bide bison bite blame bobo bode bone boner bonus bore
    bozo brake brave bribe bride brine broke brute cake came care case clone close coda code cola
    come cone cope core cover crane crate crave crime crude cuba cure cute dadas dana dare data
    date demo denim digit dine diner dino dive dome done dope dose dote dove drama drape drive
    driver drone duke dupe fade fake fame fare fate favor feta fete fever file filet fine finer
    fire five flame flare flavor flute fore frame fugu fuse gala game gate gave gaze gene genus
    give glaze glide globe glove gone gore grade grape grapes grate grave gravel gripe grove halo
    hare hate have haze here hero hide hike hire hole home homo hope hose huge jade jane java joke
    juke kale kate kevin kike kilo kite laden lager lake lame lane lapel lara late laze lemon lena
    level lever life like likes lime line lite live liver lobe lode login logit logo lone lore
    lose lotus love lover lube luke lure lute made make makes male mali mama mane mare mate maze
    medal mega memo menu menus mere meta mike mile mime mine miner mini minim minus mite modal
    mode molar mole mona mono mope more move mule muse mute nadir name nasal nave navel nazi never
    nina node none nope nora note novel nude nuke page pager pale pave pedal pedo peru pike pilot
    pine pipe pipes pita plane plate plaza plugin pluto poke polar pole pope pore pose pride prime
    probe prone propel proto prune puke pule puma pupa pure rage rake rape rapes rare rate rave
    ravel raver raze redo repel revel ride ripe rise rita rite river role roma rope rose rote rove
    rude rule ruse safe saga sage sake sale same sane saner sara sari sate save savor semi sera
    side silo sinus sire site size sizes skate slalom slate slave slide sline sliver slogan slope
    slopes snake snakes snide snipe snore soda sofa solar solo some spade spare spike spine spite
    spoke spore stage stake stale stare state status steno stole stolen stone store stove sumo
    sure take takes tale tame tape tapes tibet tide tiger tile time tina tire tofu toga tome tone
    toner tore tote trade travel tribe tripe trope trova tuba tube tuna tune tuner tutus vale vane
    vapor vase vegan velar venus vera veto vibe vigor vile vine visa vise vole vote wade wage
    wager wake wakes wane ware wave were wide widen wiki wine wipe wipes wire wise woke wore zebu
    zero zeros zone
"""
ENGLISH = frozenset(_WORDS.split())
