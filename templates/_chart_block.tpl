  <p class="drawing"><img src="{{block.picture.src}}" alt="{{block.picture.alt}}" width="960" height="400" decoding="async"></p>
  <p class="all"><a href="{{block.href}}" aria-label="{{t("block.table")}}: {{block.title}}">{{t("block.table")}}</a></p>
