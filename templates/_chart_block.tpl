  <p class="drawing"><img src="{{block.source}}" alt="{{block.title}}" width="640" height="320"></p>
  <p class="all"><a href="{{block.href}}" aria-label="{{t("block.table")}}: {{block.title}}">{{t("block.table")}}</a></p>
